/* avrrun: runs an AVR firmware in simavr and serves its harness calls (see host_io.S).
 *
 *     avrrun MCU HZ ELF INPUT OUTPUT [roomy]        records go to standard error, one per line
 *
 * It steps one instruction at a time, so cycles and the deepest stack are exact. The ELF is loaded by its
 * program headers: simavr's own loader knows only sections called .text and .data. A roomy part has the memory
 * that its addresses can reach, to measure what the real one has no room for.
 */
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <simavr/sim_avr.h>
#include <simavr/sim_io.h>

enum { OPEN = 1, READ, BEGIN, END, MARK, WRITE, CLOSE };
enum { GPIOR0 = 0x3e, SRAM = 0x800000, EEPROM = 0x810000, HARNESS_BRACKETS = 2, NODES = 65536 };
enum { ROOMY_RAM = 0xffff, ROOMY_FLASH = 0xfffff };    /* the last addresses */

static FILE *input, *output;
static uint64_t bracket_start, mark_start;  /* cycle counts */
static uint64_t node_cycles[NODES];         /* of this bracket; a node may be marked more than once */
static unsigned times[NODES];               /* that it was marked */
static uint16_t marked[NODES], marks;       /* nodes marked in this bracket, in order of appearance */
static uint16_t deepest, static_end;        /* lowest stack pointer in the bracket; end of .data and .bss */
static uint16_t stack_peak;                 /* bytes, over all brackets */
static unsigned long brackets;
static int opened, closed, inside;

static void fault(const char *why, ...)
{
    va_list more;
    va_start(more, why);
    fprintf(stderr, "state name=fault ");
    vfprintf(stderr, why, more);
    fprintf(stderr, "\n");
    va_end(more);
    exit(1);
}

static uint16_t pair(const avr_t *avr, int low)
{
    return (uint16_t)(avr->data[low] | avr->data[low + 1] << 8);
}

static uint16_t stack_pointer(const avr_t *avr)
{
    return pair(avr, R_SPL);
}

static uint8_t *sram(avr_t *avr, uint16_t at, uint16_t bytes)
{
    if (at <= avr->ioend || (uint32_t)at + bytes > avr->ramend + 1u)
        fault("why=buffer at=0x%x bytes=%u", at, bytes);
    return avr->data + at;
}

static void begin(avr_t *avr)
{
    marks = 0;
    inside = 1;
    deepest = stack_pointer(avr);
    bracket_start = mark_start = avr->cycle;
}

static void mark(avr_t *avr, uint16_t node)
{
    int known = 0;
    for (uint16_t i = 0; i < marks && !known; i++)
        known = marked[i] == node;
    if (!known) {
        marked[marks++] = node;
        node_cycles[node] = times[node] = 0;
    }
    node_cycles[node] += avr->cycle - mark_start;
    times[node]++;
    mark_start = avr->cycle;
}

static void end(avr_t *avr)
{
    uint16_t caller = (uint16_t)(stack_pointer(avr) + avr->address_size); /* without our own return address */
    for (uint16_t i = 0; i < marks; i++)
        fprintf(stderr, "mark node=%u times=%u cycles=%llu\n", marked[i], times[marked[i]],
                (unsigned long long)node_cycles[marked[i]]);
    fprintf(stderr, "bracket cycles=%llu\n", (unsigned long long)(avr->cycle - bracket_start));
    if (caller - deepest > stack_peak && brackets >= HARNESS_BRACKETS)
        stack_peak = (uint16_t)(caller - deepest);
    brackets++;
    inside = 0;
}

static void on_command(avr_t *avr, avr_io_addr_t port, uint8_t command, void *unused)
{
    uint16_t first = pair(avr, 24), second = pair(avr, 22);
    uint8_t *bytes;
    (void)port;
    (void)unused;
    switch (command) {
    case OPEN:
        if (opened++)
            fault("why=restart");
        break;
    case READ:
        bytes = sram(avr, first, second);
        avr->data[24] = fread(bytes, 1, second, input) == second;
        avr->data[25] = 0;
        break;
    case BEGIN: begin(avr); break;
    case END: end(avr); break;
    case MARK: mark(avr, first); break;
    case WRITE:
        bytes = sram(avr, first, second);
        if (fwrite(bytes, 1, second, output) != second)
            fault("why=output");
        break;
    case CLOSE: closed = 1; break;
    default: fault("why=command number=%u", command);
    }
}

/* simavr goes on after what it calls an error, such as an opcode that does not exist; we do not. */
static void on_log(avr_t *avr, const int level, const char *format, va_list more)
{
    if (level != LOG_ERROR || !opened)
        return;
    vfprintf(stderr, format, more);
    fprintf(stderr, "\n");
    fault("why=simavr_error pc=0x%x", avr->pc);
}

static uint8_t *slurp(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    uint8_t *image = NULL;
    if (file && !fseek(file, 0, SEEK_END)) {
        *bytes = (size_t)ftell(file);
        image = malloc(*bytes + 1);
        rewind(file);
        if (image && fread(image, 1, *bytes, file) != *bytes)
            image = NULL;
        fclose(file);
    }
    return image;
}

static void load(avr_t *avr, const char *path)
{
    size_t bytes = 0;
    uint8_t *image = slurp(path, &bytes);
    const Elf32_Ehdr *head = (const Elf32_Ehdr *)image;
    if (!image || bytes < sizeof *head || memcmp(image, ELFMAG, SELFMAG) || head->e_machine != EM_AVR)
        fault("why=not_an_avr_elf");
    const Elf32_Phdr *part = (const Elf32_Phdr *)(image + head->e_phoff);
    uint32_t ram_end = SRAM + avr->ioend + 1u;
    for (int i = 0; i < head->e_phnum; i++) {
        uint32_t flash_end = part[i].p_paddr + part[i].p_filesz;
        if (part[i].p_type != PT_LOAD)
            continue;
        if (part[i].p_filesz && part[i].p_paddr < SRAM) {
            if (flash_end > avr->flashend + 1u)
                fault("why=flash_too_small bytes=%u", flash_end);
            memcpy(avr->flash + part[i].p_paddr, image + part[i].p_offset, part[i].p_filesz);
            if (flash_end > avr->codeend)
                avr->codeend = flash_end;
        }
        if (part[i].p_vaddr >= SRAM && part[i].p_vaddr < EEPROM && part[i].p_vaddr + part[i].p_memsz > ram_end)
            ram_end = part[i].p_vaddr + part[i].p_memsz;
    }
    if (ram_end - SRAM > avr->ramend + 1u)
        fault("why=ram_too_small bytes=%u", ram_end - SRAM - (avr->ioend + 1u));
    static_end = (uint16_t)(ram_end - SRAM);
    avr->pc = head->e_entry;
    free(image);
}

int main(int argc, char **argv)
{
    if (argc != 6 && argc != 7)
        fault("why=usage");
    avr_t *avr = avr_make_mcu_by_name(argv[1]);
    input = fopen(argv[4], "rb");
    output = fopen(argv[5], "wb");
    if (!avr || !input || !output)
        fault("why=open");
    if (argc == 7) {
        avr->ramend = ROOMY_RAM;
        avr->flashend = ROOMY_FLASH;
    }
    avr_init(avr);
    avr->log = LOG_ERROR;
    avr_global_logger_set(on_log);
    avr->frequency = (uint32_t)strtoul(argv[2], NULL, 10);
    avr->codeend = 0;
    load(avr, argv[3]);
    avr_register_io_write(avr, GPIOR0, on_command, NULL);
    avr->run_cycle_limit = 1;
    while (!closed) {
        int state = avr_run(avr);
        if (state == cpu_Crashed || state == cpu_Done)
            fault("why=%s pc=0x%x", state == cpu_Done ? "stopped" : "crash", avr->pc);
        if (inside && stack_pointer(avr) < deepest) {
            deepest = stack_pointer(avr);
            if (deepest < static_end)
                fault("why=stack_overflow pc=0x%x", avr->pc);
        }
    }
    fprintf(stderr, "stack bytes=%u\nstate name=done samples=%lu\n", stack_peak, brackets - HARNESS_BRACKETS);
    return fclose(output) != 0;
}
