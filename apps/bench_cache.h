#pragma once

// `kvasir bench cache`: the three tables of the original's README, measured in this process.

#include "apps/loaded_model.h"
#include "base/status.h"

namespace kvasir {

Status bench_cache(const LoadedModel& loaded, const tokenizer::Tokenizer& tokenizer);

}  // namespace kvasir
