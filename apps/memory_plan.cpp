#include "apps/memory_plan.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "base/memory.h"
#include "model/model.h"

namespace kvasir {
namespace {

// Without --kv-cache-memory the cache has at least this: where there is less, the user should know.
constexpr std::size_t kSmallestCache = std::size_t{32} << 20;

std::string show(std::size_t bytes) {
  constexpr double kMiB = 1 << 20;
  const double mib = static_cast<double>(bytes) / kMiB;
  return mib < 1024 ? fmt::format("{:.0f} MiB", mib) : fmt::format("{:.1f} GiB", mib / 1024);
}

}  // namespace

Status plan_memory(const model::ModelConfig& model, std::size_t weight_bytes, std::size_t usable_bytes,
                   engine::EngineConfig& config) {
  const int max_logits = std::min(config.max_running_sequences, config.max_batch_tokens);
  const std::size_t scratch = model::scratch_bytes(model, config.max_batch_tokens, max_logits);
  if (config.kv_cache_memory == 0) {
    const std::size_t rest = usable_bytes - std::min(usable_bytes, weight_bytes + scratch);
    config.kv_cache_memory = std::max(kSmallestCache, std::min(usable_bytes / 4, rest));
  }
  const std::string parts = fmt::format("weights {}, KV cache {}, scratch {}", show(weight_bytes),
                                        show(config.kv_cache_memory), show(scratch));
  if (weight_bytes + config.kv_cache_memory + scratch > usable_bytes) {
    return error(StatusCode::kResourceExhausted,
                 "memory: {} are more than the {} that this process may use; a smaller --kv-cache-memory, "
                 "--dtype q8_0 or q4_0 for the weights, and a smaller --max-batch-tokens take less",
                 parts, show(usable_bytes));
  }
  spdlog::info("memory: {} of {}", parts, show(usable_bytes));
  return Status();
}

CheckMemory planning(engine::EngineConfig& config) {
  return [&config](const model::ModelConfig& model, std::size_t weight_bytes) {
    return plan_memory(model, weight_bytes, usable_memory_bytes(), config);
  };
}

}  // namespace kvasir
