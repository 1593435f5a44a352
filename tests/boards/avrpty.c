/* avrpty: a simulated Arduino on a pseudo-terminal.
 *
 *     avrpty MCU HZ IMAGE.hex LINK DUMP
 *
 * IMAGE is a boot loader or a sketch; it starts where it lies. LINK becomes a symbolic link to the port. Whoever
 * opens the port resets the board, as the DTR line of a real one does. Time in the board is time on the wall. On
 * SIGTERM the flash is written to DUMP.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <simavr/avr_uart.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_hex.h>

enum { MCUSR = 0x54, EXTERNAL_RESET = 2, BAUD = 115200, BITS = 10, SLICE = 500 };

static int port;                /* our end of the pseudo-terminal */
static volatile sig_atomic_t stopped;

static void on_stop(int signal)
{
    (void)signal;
    stopped = 1;
}

static void on_output(struct avr_irq_t *irq, uint32_t value, void *unused)
{
    const uint8_t byte = (uint8_t)value;
    (void)irq;
    (void)unused;
    if (write(port, &byte, 1) != 1)
        return; /* nobody reads: it is lost, as on a wire */
}

/* simavr would sleep here itself; `keep_time` does. */
static void no_sleep(avr_t *avr, avr_cycle_count_t cycles)
{
    (void)avr;
    (void)cycles;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static avr_t *board(const char *mcu, const char *hz, const char *image)
{
    ihex_chunk_p parts = NULL;
    avr_t *avr = avr_make_mcu_by_name(mcu);
    int count = read_ihex_chunks(image, &parts);
    if (!avr || count < 1) {
        fprintf(stderr, "avrpty: cannot have %s with %s\n", mcu, image);
        exit(1);
    }
    avr_init(avr);
    avr->log = LOG_ERROR;
    avr->frequency = (uint32_t)strtoul(hz, NULL, 10);
    avr->sleep = no_sleep;
    memset(avr->flash, 0xff, avr->flashend + 1u);
    for (int i = 0; i < count; i++)
        memcpy(avr->flash + parts[i].baseaddr, parts[i].data, parts[i].size);
    avr->codeend = avr->flashend;
    avr->reset_pc = parts[0].baseaddr;
    avr->run_cycle_limit = SLICE / 5;
    free_ihex_chunks(parts);
    return avr;
}

static avr_irq_t *connect_uart(avr_t *avr)
{
    uint32_t flags = 0;
    avr_ioctl(avr, AVR_IOCTL_UART_GET_FLAGS('0'), &flags);
    flags &= ~(uint32_t)(AVR_UART_FLAG_STDIO | AVR_UART_FLAG_POLL_SLEEP);
    avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), &flags);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), on_output, NULL);
    return avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT);
}

/* Opens the port and shows it as `link`. Our own copy of the board's end is closed: we see when nobody has it. */
static void open_port(const char *link)
{
    int other = -1;
    char name[128];
    struct termios raw;
    if (openpty(&port, &other, name, NULL, NULL) || tcgetattr(other, &raw))
        exit(1);
    cfmakeraw(&raw);
    tcsetattr(other, TCSANOW, &raw);
    close(other);
    fcntl(port, F_SETFL, O_NONBLOCK);
    unlink(link);
    if (symlink(name, link))
        exit(1);
}

static void reset(avr_t *avr)
{
    avr_reset(avr);
    avr->pc = avr->reset_pc;
    avr->data[MCUSR] = EXTERNAL_RESET;
}

/* Runs the board while it is behind the clock on the wall; 0 if it has died. */
static int keep_time(avr_t *avr, double start, avr_cycle_count_t first)
{
    if ((double)(avr->cycle - first) / (double)avr->frequency > now() - start) {
        usleep(200);
        return 1;
    }
    for (avr_cycle_count_t end = avr->cycle + SLICE; avr->cycle < end;) {
        int state = avr_run(avr);
        if (state == cpu_Done || state == cpu_Crashed) {
            fprintf(stderr, "avrpty: the board stopped at 0x%x\n", avr->pc);
            return 0;
        }
    }
    return 1;
}

static void serve(avr_t *avr, avr_irq_t *input)
{
    uint8_t queue[4096];
    ssize_t held = 0, next = 0;
    int open = 0;
    avr_cycle_count_t first = 0, free = 0; /* of the wire, for another byte */
    double start = 0;
    while (!stopped) {
        struct pollfd end = {port, POLLIN, 0};
        poll(&end, 1, open ? 0 : 10);
        if (end.revents & POLLHUP) {
            open = 0;
            continue; /* unplugged, as far as we can see: time stands still */
        }
        if (!open) {
            reset(avr);
            open = 1;
            held = next = 0;
            first = avr->cycle;
            free = 0;
            start = now();
        }
        if (next == held && (end.revents & POLLIN)) {
            held = read(port, queue, sizeof queue);
            next = 0;
            held = held < 0 ? 0 : held;
        }
        if (next < held && avr->cycle >= free) {
            avr_raise_irq(input, queue[next++]);
            free = avr->cycle + avr->frequency * BITS / BAUD;
        }
        if (!keep_time(avr, start, first))
            return;
    }
}

int main(int argc, char **argv)
{
    if (argc != 6)
        return 64;
    signal(SIGTERM, on_stop);
    avr_t *avr = board(argv[1], argv[2], argv[3]);
    avr_irq_t *input = connect_uart(avr);
    open_port(argv[4]);
    serve(avr, input);
    FILE *dump = fopen(argv[5], "wb");
    unlink(argv[4]);
    return !dump || fwrite(avr->flash, 1, avr->flashend + 1u, dump) != avr->flashend + 1u || fclose(dump);
}
