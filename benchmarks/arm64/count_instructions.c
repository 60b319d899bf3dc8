/* QEMU plugin: count the guest instructions between marks that the guest makes.
 *
 * The guest marks a place by calling getpgid(0x47450000), which fails with ESRCH and changes nothing. At each mark the
 * number of instructions executed so far, by all threads, is written as a line to the file of the argument out=FILE.
 * Counting inside one process needs no second run to subtract the loading of the model.
 *
 * Built with: gcc -shared -fPIC -O2 -DAPI_VERSION=1 -o count_instructions.so count_instructions.c
 * Debian does not ship qemu-plugin.h; what is used of it is declared below, as QEMU's documentation gives it
 * (docs/devel/tcg-plugins). These functions are the same in every version of the interface; only its number differs.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
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

EXPORT int qemu_plugin_version = API_VERSION;

enum { NO_REGISTERS = 0, GETPGID_ARM64 = 155, MARK = 0x47450000 };

static atomic_uint_fast64_t executed;
static FILE *out;

static void block_executed(unsigned int vcpu, void *instructions) {
    (void)vcpu;
    atomic_fetch_add_explicit(&executed, (uintptr_t)instructions, memory_order_relaxed);
}

static void block_translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(block, block_executed, NO_REGISTERS, (void *)qemu_plugin_tb_n_insns(block));
}

static void on_syscall(qemu_plugin_id_t id, unsigned int vcpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                       uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    (void)id, (void)vcpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number == GETPGID_ARM64 && (uint32_t)a1 == MARK) {
        fprintf(out, "%" PRIuFAST64 "\n", atomic_load(&executed));
        fflush(out);
    }
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int argc, char **argv) {
    (void)info;
    if (argc != 1 || strncmp(argv[0], "out=", 4) != 0 || (out = fopen(argv[0] + 4, "w")) == NULL) {
        fprintf(stderr, "count_instructions: the argument out=FILE, of a file that can be written, is missing\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, block_translated);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    return 0;
}
