#pragma once

// The engine under a load of equal requests, without HTTP and text.

#include "base/status.h"
#include "bench/report.h"
#include "model/model.h"

namespace kvasir::bench {

// What a step takes outside the model while all sequences decode: us.
Result<Measurement> engine_overhead(model::Model& model, int num_sequences, int num_runs);

// Replies of 128 tokens to prompts of 64, all at once, from the first request to the last token: tokens/s.
Result<Measurement> engine_throughput(model::Model& model, int num_sequences, int num_runs);

}  // namespace kvasir::bench
