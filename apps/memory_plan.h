#pragma once

// How the memory of this process is shared between weights, KV cache and what a step computes with, worked
// out before anything is loaded.

#include <cstddef>

#include "apps/loaded_model.h"
#include "base/status.h"
#include "engine/engine.h"
#include "model/model_config.h"

namespace kvasir {

// Gives the KV cache its memory where config.kv_cache_memory is 0: a quarter of `usable_bytes`, or what the
// rest leaves. Says in the log who gets what. Errors: kResourceExhausted with the numbers, and what to
// change.
Status plan_memory(const model::ModelConfig& model, std::size_t weight_bytes, std::size_t usable_bytes,
                   engine::EngineConfig& config);

// plan_memory() with the memory that this process may use, as a check of load_model(). `config` is borrowed.
CheckMemory planning(engine::EngineConfig& config);

}  // namespace kvasir
