/* A QEMU plugin that counts the instructions a firmware runs between br_host_begin and br_host_end.
 *
 *     -plugin count.so,begin=A,end=A,mark=A,mark_end=A,first=A,last=A,ram=A,records=FILE   (A: addresses)
 *
 * Instructions in first <= pc < last (the harness itself) are not counted. A mark reads the byte at
 * ram + node, which is how the plugin learns the node. Records go to FILE, one line each. An instruction
 * that its IT block skips is counted: the core fetches and issues it too.
 *
 * QEMU 7.2 may go on reporting reads when br_host_mark has returned, those of Helium for one, so only the first
 * read of that array after its entry is believed.
 *
 * The prototypes are those of plugin API version 1 (QEMU 6 to 8), of which no package ships the header.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
enum qemu_plugin_mem_rw { QEMU_PLUGIN_MEM_RW = 3 }; /* QEMU 7.2 filters reads alone wrongly */

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*)(unsigned, void *),
                                            enum qemu_plugin_cb_flags, void *);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, enum qemu_plugin_op, void *, uint64_t);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *,
                                      void (*)(unsigned, qemu_plugin_meminfo_t, uint64_t, void *),
                                      enum qemu_plugin_cb_flags, enum qemu_plugin_mem_rw, void *);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);

extern int qemu_plugin_version;
int qemu_plugin_version = 1;
int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int argc, char **argv);

enum { OTHER, LOAD, STORE, MUL, BRANCH, DIV, FP_MVE, CLASSES };
enum { NODES = 65536 };
static const char *const class_names[CLASSES] = {"other", "load", "store", "mul", "branch", "div", "fp_mve"};

static uint64_t counts[CLASSES];            /* ever counted */
static uint64_t at_begin[CLASSES], at_mark; /* what counts (or their sum) were then */
static uint64_t node_counts[NODES];         /* of this bracket; a node may be marked more than once */
static unsigned times[NODES];
static uint16_t marked[NODES];
static size_t marks;
static bool marking; /* br_host_mark was entered and has not read its byte yet */
static struct { uint64_t begin, end, mark, mark_end, first, last, ram; } address;
static FILE *records;

static uint64_t total(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < CLASSES; i++)
        sum += counts[i];
    return sum;
}

/* Thumb's 16-bit encodings, after the Arm Architecture Reference Manual (A5.2 in DDI 0403). */
static int class_of_narrow(unsigned op)
{
    if ((op & 0xf800) == 0x4800) return LOAD;                            /* LDR literal */
    if ((op & 0xf000) == 0x5000) return (op >> 9 & 7) >= 3 ? LOAD : STORE; /* register offset */
    if ((op & 0xe000) == 0x6000 || (op & 0xf000) == 0x8000 || (op & 0xf000) == 0x9000 || (op & 0xf000) == 0xc000)
        return op & 0x800 ? LOAD : STORE;                                /* immediate, SP; LDM and STM */
    if ((op & 0xfe00) == 0xb400) return STORE;                           /* PUSH */
    if ((op & 0xfe00) == 0xbc00) return LOAD;                            /* POP */
    if ((op & 0xffc0) == 0x4340) return MUL;
    if ((op & 0xf000) == 0xd000 || (op & 0xf800) == 0xe000 || (op & 0xff00) == 0x4700 || (op & 0xf500) == 0xb100)
        return BRANCH;                                                   /* B, BX, BLX, CBZ */
    return OTHER;
}

/* And the 32-bit ones (A5.3); both halves, first half first. */
static int class_of_wide(unsigned op, unsigned low)
{
    if ((op & 0xec00) == 0xec00) return FP_MVE;                          /* coprocessor: VFP, Helium */
    if ((op & 0xfff0) == 0xe8d0 && (low & 0xffe0) == 0xf000) return BRANCH; /* TBB, TBH */
    if ((op & 0xfe00) == 0xe800) return op & 0x10 ? LOAD : STORE;        /* LDM, STM, LDRD, exclusive */
    if ((op & 0xfe00) == 0xf800) return op & 0x10 ? LOAD : STORE;
    if ((op & 0xff80) == 0xfb00) return MUL;
    if ((op & 0xff80) == 0xfb80) return (op & 0x50) == 0x10 && (low & 0xf0) == 0xf0 ? DIV : MUL;
    if ((op & 0xf800) == 0xf000 && (low & 0x8000)) /* B, BL, the loops WLS and LE; but MSR, MRS and barriers too */
        return (low & 0x5000) == 0 && (op & 0x0380) == 0x0380 ? OTHER : BRANCH;
    return OTHER;
}

static void on_begin(unsigned vcpu, void *unused)
{
    (void)vcpu;
    (void)unused;
    memcpy(at_begin, counts, sizeof counts);
    at_mark = total();
    marks = 0;
}

static void on_mark_entry(unsigned vcpu, void *unused)
{
    (void)vcpu;
    (void)unused;
    marking = true;
}

static void on_mark(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t read, void *unused)
{
    size_t i = 0;
    (void)vcpu;
    (void)info;
    (void)unused;
    if (!marking || read < address.ram || read - address.ram >= NODES)
        return; /* the function's own literals */
    marking = false;
    uint16_t node = (uint16_t)(read - address.ram);
    while (i < marks && marked[i] != node)
        i++;
    if (i == marks) {
        marked[marks++] = node;
        node_counts[node] = times[node] = 0;
    }
    node_counts[node] += total() - at_mark;
    times[node]++;
    at_mark = total();
}

static void on_end(unsigned vcpu, void *unused)
{
    uint64_t sum = 0;
    (void)vcpu;
    (void)unused;
    for (size_t i = 0; i < marks; i++)
        fprintf(records, "mark node=%u times=%u instructions=%llu\n", marked[i], times[marked[i]],
                (unsigned long long)node_counts[marked[i]]);
    for (int i = 0; i < CLASSES; i++)
        sum += counts[i] - at_begin[i];
    fprintf(records, "bracket instructions=%llu", (unsigned long long)sum);
    for (int i = 0; i < CLASSES; i++)
        fprintf(records, " %s=%llu", class_names[i], (unsigned long long)(counts[i] - at_begin[i]));
    fprintf(records, "\n");
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, i);
        const uint8_t *byte = qemu_plugin_insn_data(insn);
        uint64_t pc = qemu_plugin_insn_vaddr(insn);
        unsigned op = byte[0] | (unsigned)byte[1] << 8;
        if (pc == address.begin)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_begin, QEMU_PLUGIN_CB_NO_REGS, NULL);
        if (pc == address.end)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_end, QEMU_PLUGIN_CB_NO_REGS, NULL);
        if (pc == address.mark)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark_entry, QEMU_PLUGIN_CB_NO_REGS, NULL);
        if (pc >= address.mark && pc < address.mark_end)
            qemu_plugin_register_vcpu_mem_cb(insn, on_mark, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, NULL);
        if (pc < address.first || pc >= address.last) {
            int class = qemu_plugin_insn_size(insn) == 2 ? class_of_narrow(op)
                                                         : class_of_wide(op, byte[2] | (unsigned)byte[3] << 8);
            qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &counts[class], 1);
        }
    }
}

static void on_finish(qemu_plugin_id_t id, void *unused)
{
    (void)id;
    (void)unused;
    fclose(records);
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int argc, char **argv)
{
    static const char *const names[] = {"begin=", "end=", "mark=", "mark_end=", "first=", "last=", "ram="};
    uint64_t *const places[] = {&address.begin,    &address.end,   &address.mark, &address.mark_end,
                                &address.first, &address.last, &address.ram};
    (void)info;
    for (int i = 0; i < argc; i++) {
        for (size_t k = 0; k < sizeof names / sizeof *names; k++)
            if (!strncmp(argv[i], names[k], strlen(names[k])))
                *places[k] = strtoull(argv[i] + strlen(names[k]), NULL, 0);
        if (!strncmp(argv[i], "records=", 8))
            records = fopen(argv[i] + 8, "w");
    }
    if (!records || !address.begin)
        return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, on_finish, NULL);
    return 0;
}
