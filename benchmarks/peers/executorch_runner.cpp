/* ExecuTorch's Module behind three C functions, so that its runtime is used as on a phone: without PyTorch.
 *
 * Built against the headers and libraries of ExecuTorch's own wheel (environments.py), for this machine and for aarch64.
 */
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>

// threadpool.h is not in the wheel; what is used of it, as ExecuTorch's documentation has it.
namespace executorch::extension::threadpool {
class ThreadPool {
  public:
    bool _unsafe_reset_threadpool(uint32_t threads);
};
ThreadPool *get_threadpool();
} // namespace executorch::extension::threadpool

using executorch::aten::ScalarType;
using executorch::extension::Module;

struct Loaded {
    std::unique_ptr<Module> module;
    ScalarType type;
    std::vector<uint8_t> pixels;
    std::vector<executorch::runtime::EValue> inputs, outputs;
    executorch::extension::TensorPtr tensor;
};

extern "C" {

/* Load a .pte for `threads` threads; null where that fails. */
Loaded *runner_load(const char *path, uint32_t threads) {
    executorch::extension::threadpool::get_threadpool()->_unsafe_reset_threadpool(threads);
    auto loaded = std::make_unique<Loaded>();
    loaded->module = std::make_unique<Module>(path, Module::LoadMode::File);
    if (loaded->module->load_forward() != executorch::runtime::Error::Ok)
        return nullptr;
    auto meta = loaded->module->method_meta("forward");
    if (!meta.ok())
        return nullptr;
    loaded->type = meta->input_tensor_meta(0)->scalar_type();
    return loaded.release();
}

/* Whether the input is float16; float32 otherwise. */
int runner_is_half(const Loaded *loaded) { return loaded->type == ScalarType::Half; }

/* Take an image, channels last in memory, of the input's type. */
void runner_set_input(Loaded *loaded, const void *pixels, int height, int width) {
    size_t bytes = size_t(3) * height * width * (runner_is_half(loaded) ? 2 : 4);
    loaded->pixels.assign(static_cast<const uint8_t *>(pixels), static_cast<const uint8_t *>(pixels) + bytes);
    loaded->tensor = executorch::extension::make_tensor_ptr({1, 3, height, width}, loaded->pixels.data(), {0, 2, 3, 1},
                                                            {3 * height * width, 1, 3 * width, 3}, loaded->type);
    loaded->inputs = {*loaded->tensor};
}

/* Infer; 0, or the number of ExecuTorch's error. */
int runner_run(Loaded *loaded) {
    auto result = loaded->module->forward(loaded->inputs);
    if (!result.ok())
        return static_cast<int>(result.error());
    loaded->outputs = std::move(result.get());
    return 0;
}

/* Copy the last logits, of the input's type; returns how many bytes they are, copies no more than `most`. */
size_t runner_output(const Loaded *loaded, void *out, size_t most) {
    const auto tensor = loaded->outputs.at(0).toTensor();
    std::memcpy(out, tensor.const_data_ptr(), tensor.nbytes() < most ? tensor.nbytes() : most);
    return tensor.nbytes();
}
}
