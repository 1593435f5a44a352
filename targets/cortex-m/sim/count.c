/* A QEMU plugin that counts the instructions a firmware runs between br_host_begin and br_host_end.
 *
 *     -plugin count.so,begin=A,end=A,mark=A,mark_end=A,first=A,last=A,ram=A,records=FILE   (A: addresses)
 *
 * Instructions in first <= pc < last (the harness itself) are not counted. A mark reads the byte at
 * ram + node, which is how the plugin learns the node. Records go to FILE, one line each. An instruction
 * that its IT block skips is counted: the core fetches and issues it too.
 *
 * Each instruction is of one class; `multiple` are those that load or store several registers, and `registers`
 * how many words these have moved.
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

enum { OTHER, LOAD, STORE, MULTIPLE, MUL, BRANCH, DIV, FP_MVE, CLASSES, REGISTERS = CLASSES, COUNTERS };
enum { NODES = 65536 };
static const char *const names[COUNTERS] = {"other",  "load", "store",  "multiple", "mul",
                                            "branch", "div",  "fp_mve", "registers"};

static uint64_t counts[COUNTERS];                        /* ever counted */
static uint64_t at_begin[COUNTERS], at_mark[COUNTERS];   /* what counts were then */
static uint64_t node_counts[NODES][COUNTERS];            /* of this bracket; a node may be marked more than once */
static unsigned times[NODES];
static uint16_t marked[NODES];
static size_t marks;
static bool marking; /* br_host_mark was entered and has not read its byte yet */
static struct { uint64_t begin, end, mark, mark_end, first, last, ram; } address;
static FILE *records;

/* What an instruction is, and if it moves several registers, how many words those are. */
struct meaning { int class; unsigned registers; };

static struct meaning one(int class)
{
    return (struct meaning){class, 0};
}

static struct meaning several(unsigned registers)
{
    return (struct meaning){MULTIPLE, registers};
}

static unsigned ones(unsigned list)
{
    unsigned n = 0;
    for (; list; list &= list - 1)
        n++;
    return n;
}

/* Thumb's 16-bit encodings, after the Arm Architecture Reference Manual (A5.2 in DDI 0403). */
static struct meaning narrow(unsigned op)
{
    if ((op & 0xf800) == 0x4800) return one(LOAD);                            /* LDR literal */
    if ((op & 0xf000) == 0x5000) return one((op >> 9 & 7) >= 3 ? LOAD : STORE); /* register offset */
    if ((op & 0xe000) == 0x6000 || (op & 0xf000) == 0x8000 || (op & 0xf000) == 0x9000)
        return one(op & 0x800 ? LOAD : STORE);                                /* immediate offset, SP */
    if ((op & 0xf000) == 0xc000) return several(ones(op & 0xff));             /* LDM, STM */
    if ((op & 0xf600) == 0xb400) return several(ones(op & 0x1ff));            /* PUSH, POP */
    if ((op & 0xffc0) == 0x4340) return one(MUL);
    if ((op & 0xfe00) == 0xde00) return one(OTHER);                           /* UDF, SVC */
    if ((op & 0xf000) == 0xd000 || (op & 0xf800) == 0xe000 || (op & 0xff00) == 0x4700 || (op & 0xf500) == 0xb100)
        return one(BRANCH);                                                   /* B, BX, BLX, CBZ */
    if ((op & 0xfd87) == 0x4487) return one(BRANCH);                          /* ADD and MOV to the pc */
    return one(OTHER);
}

/* Loads and stores of several registers, of exclusives, and table branches: 1110 100x. */
static struct meaning wide_multiple(unsigned op, unsigned low)
{
    if (!(op & 0x40)) return several(ones(low));                              /* LDM, STM */
    if ((op & 0xfff0) == 0xe8d0 && (low & 0xffe0) == 0xf000) return one(BRANCH); /* TBB, TBH */
    if ((op == 0xe97f && low == 0xe97f) || ((op & 0xfff0) == 0xe840 && (low & 0xf000) == 0xf000))
        return one(OTHER);                                                    /* SG, TT */
    if (op & 0x120) return several(2);                                        /* LDRD, STRD */
    return one(op & 0x10 ? LOAD : STORE);                                     /* exclusive, acquire, release */
}

/* Coprocessors: VFP and Helium. A double is two words of the memory that it comes from. */
static struct meaning coprocessor(unsigned op, unsigned low)
{
    bool vfp = (low & 0xe00) == 0xa00 || (low & 0xf00) == 0x900;              /* single, double, half */
    bool memory = (op & 0xfe00) == 0xec00 && (op & 0xffe0) != 0xec40;         /* not VMOV of two registers */
    if (!vfp || !memory) return one(FP_MVE);
    if ((op & 0x120) == 0x100) return one(op & 0x10 ? LOAD : STORE);          /* VLDR, VSTR */
    return several(low & (low & 0x100 ? 0xfe : 0xff));                        /* VLDM, VSTM, VPUSH, VPOP */
}

/* And the 32-bit ones (A5.3); both halves, first half first. */
static struct meaning wide(unsigned op, unsigned low)
{
    if ((op & 0xec00) == 0xec00) return coprocessor(op, low);
    if ((op & 0xfe00) == 0xe800) return wide_multiple(op, low);
    if ((op & 0xfe00) == 0xf800) {
        bool hint = op & 0x10 && (op & 0x60) != 0x40 && (low & 0xf000) == 0xf000; /* PLD, PLI */
        return one(hint ? OTHER : op & 0x10 ? LOAD : STORE);
    }
    if ((op & 0xff80) == 0xfb00) return one(MUL);
    if ((op & 0xff80) == 0xfb80) return one((op & 0x50) == 0x10 && (low & 0xf0) == 0xf0 ? DIV : MUL);
    if ((op & 0xf800) == 0xf000 && (low & 0x8000)) {                          /* branches and miscellaneous */
        if ((low & 0xf000) == 0xe000) return one(low & 0x800 ? FP_MVE : OTHER); /* VCTP; DLS, LCTP */
        bool system = (low & 0x5000) == 0 && (op & 0x0380) == 0x0380;         /* MSR, MRS, barriers */
        return one(system ? OTHER : BRANCH);                                  /* B, BL, WLS, LE */
    }
    return one(OTHER);
}

static void on_begin(unsigned vcpu, void *unused)
{
    (void)vcpu;
    (void)unused;
    memcpy(at_begin, counts, sizeof counts);
    memcpy(at_mark, counts, sizeof counts);
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
        memset(node_counts[node], 0, sizeof node_counts[node]);
        times[node] = 0;
    }
    for (int k = 0; k < COUNTERS; k++)
        node_counts[node][k] += counts[k] - at_mark[k];
    times[node]++;
    memcpy(at_mark, counts, sizeof counts);
}

/* The instructions in all, then each class, then the words that multiple loads and stores have moved. */
static void tell(const uint64_t *now, const uint64_t *then)
{
    uint64_t sum = 0;
    for (int i = 0; i < CLASSES; i++)
        sum += now[i] - then[i];
    fprintf(records, " instructions=%llu", (unsigned long long)sum);
    for (int i = 0; i < COUNTERS; i++)
        fprintf(records, " %s=%llu", names[i], (unsigned long long)(now[i] - then[i]));
    fprintf(records, "\n");
}

static void on_end(unsigned vcpu, void *unused)
{
    static const uint64_t nothing[COUNTERS];
    (void)vcpu;
    (void)unused;
    for (size_t i = 0; i < marks; i++) {
        fprintf(records, "mark node=%u times=%u", marked[i], times[marked[i]]);
        tell(node_counts[marked[i]], nothing);
    }
    fprintf(records, "bracket");
    tell(counts, at_begin);
}

static void count(struct qemu_plugin_insn *insn, int which, uint64_t by)
{
    if (by)
        qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &counts[which], by);
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
            struct meaning is = qemu_plugin_insn_size(insn) == 2 ? narrow(op)
                                                                 : wide(op, byte[2] | (unsigned)byte[3] << 8);
            count(insn, is.class, 1);
            count(insn, REGISTERS, is.registers);
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
    static const char *const keys[] = {"begin=", "end=", "mark=", "mark_end=", "first=", "last=", "ram="};
    uint64_t *const places[] = {&address.begin,    &address.end,   &address.mark, &address.mark_end,
                                &address.first, &address.last, &address.ram};
    (void)info;
    for (int i = 0; i < argc; i++) {
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
            if (!strncmp(argv[i], keys[k], strlen(keys[k])))
                *places[k] = strtoull(argv[i] + strlen(keys[k]), NULL, 0);
        if (!strncmp(argv[i], "records=", 8))
            records = fopen(argv[i] + 8, "w");
    }
    if (!records || !address.begin)
        return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, on_finish, NULL);
    return 0;
}
