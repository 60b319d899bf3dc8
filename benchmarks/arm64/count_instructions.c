/* QEMU plugin: count the guest instructions between marks that the guest makes.
 *
 * The guest marks a place by calling getpgid(0x47450000), which fails with ESRCH and changes nothing. At each mark a line
 * "INSTRUCTIONS OTHERS" is written to the file of the argument out=FILE: what was executed so far by all threads, and by
 * those but the first. Counting inside one process needs no second run to subtract the loading of the model.
 *
 * With the argument blocks=FILE each mark also writes where they were executed since the mark before: a line
 * "ADDRESS LENGTH TIMES" for each translated block, by its guest address in hexadecimal, its number of instructions and
 * how often it was executed, and an empty line after all.
 *
 * Built with: gcc -shared -fPIC -O2 -DAPI_VERSION=1 -o count_instructions.so count_instructions.c
 * Debian does not ship qemu-plugin.h; what is used of it is declared below, as QEMU's documentation gives it
 * (docs/devel/tcg-plugins). These functions are the same in every version of the interface; only its number differs.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb; /* a translated block: instructions that are always executed from the first on */
struct qemu_info_t;

typedef void (*translated_cb)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*executed_cb)(unsigned int vcpu, void *data);
typedef void (*syscall_cb)(qemu_plugin_id_t, unsigned int vcpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                           uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, translated_cb);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, executed_cb, int flags, void *data);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, syscall_cb);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);

EXPORT int qemu_plugin_version = API_VERSION;

enum { NO_REGISTERS = 0, GETPGID_ARM64 = 155, MARK = 0x47450000 };

/* One for each translation, never freed: QEMU may still execute a block while it translates its place anew. */
struct block {
    uint64_t address;
    uint64_t instructions;
    atomic_uint_fast64_t times;
    struct block *next;
};

static atomic_uint_fast64_t executed, executed_by_others;
static _Atomic(struct block *) blocks;
static FILE *out, *out_blocks;

static void block_executed(unsigned int vcpu, void *instructions) {
    atomic_fetch_add_explicit(&executed, (uintptr_t)instructions, memory_order_relaxed);
    if (vcpu != 0)
        atomic_fetch_add_explicit(&executed_by_others, (uintptr_t)instructions, memory_order_relaxed);
}

static void listed_block_executed(unsigned int vcpu, void *data) {
    struct block *block = data;
    block_executed(vcpu, (void *)(uintptr_t)block->instructions);
    atomic_fetch_add_explicit(&block->times, 1, memory_order_relaxed);
}

static void block_translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    uint64_t instructions = qemu_plugin_tb_n_insns(tb);
    struct block *block = out_blocks ? calloc(1, sizeof *block) : NULL;
    if (block == NULL) {
        qemu_plugin_register_vcpu_tb_exec_cb(tb, block_executed, NO_REGISTERS, (void *)(uintptr_t)instructions);
        return;
    }
    block->address = qemu_plugin_tb_vaddr(tb);
    block->instructions = instructions;
    block->next = atomic_load(&blocks);
    while (!atomic_compare_exchange_weak(&blocks, &block->next, block))
        ;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, listed_block_executed, NO_REGISTERS, block);
}

static void write_blocks(void) {
    for (struct block *block = atomic_load(&blocks); block != NULL; block = block->next) {
        uint64_t times = atomic_exchange(&block->times, 0);
        if (times != 0)
            fprintf(out_blocks, "%" PRIx64 " %" PRIu64 " %" PRIu64 "\n", block->address, block->instructions, times);
    }
    fprintf(out_blocks, "\n");
    fflush(out_blocks);
}

static void on_syscall(qemu_plugin_id_t id, unsigned int vcpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                       uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    (void)id, (void)vcpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number == GETPGID_ARM64 && (uint32_t)a1 == MARK) {
        fprintf(out, "%" PRIuFAST64 " %" PRIuFAST64 "\n", atomic_load(&executed), atomic_load(&executed_by_others));
        fflush(out);
        if (out_blocks != NULL)
            write_blocks();
    }
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int argc, char **argv) {
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "out=", 4) == 0)
            out = fopen(argv[i] + 4, "w");
        else if (strncmp(argv[i], "blocks=", 7) != 0 || (out_blocks = fopen(argv[i] + 7, "w")) == NULL)
            out = NULL, i = argc;
    }
    if (out == NULL) {
        fprintf(stderr, "count_instructions: out=FILE[,blocks=FILE], of files that can be written, was expected\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, block_translated);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    return 0;
}
