#include "engine/sequence.h"

#include <tuple>
#include <utility>

namespace kvasir::engine {

std::vector<std::unique_ptr<Sequence>> make_sequences(RequestId id, Request request, EventSink sink,
                                                      std::uint64_t seed, int max_tokens, TimePoint now) {
  const auto num_prompt_tokens = static_cast<int>(request.prompt.size());
  ConstraintPtr constraint = std::move(request.constraint);
  const int num_samples = request.num_samples;
  const bool reads_prompt = request.num_prompt_logprobs || request.wants_embedding;
  const auto shared = std::make_shared<RequestState>();
  shared->id = id;
  shared->request = std::move(request);
  shared->sink = std::move(sink);
  shared->submitted_at = now;
  shared->num_samples_to_come = num_samples - 1;

  std::vector<std::unique_ptr<Sequence>> sequences;
  for (int sample = 0; sample < num_samples; ++sample) {
    auto sequence = std::make_unique<Sequence>();
    sequence->shared = shared;
    sequence->sample = sample;
    if (sample == 0) {
      sequence->tokens = num_samples == 1 ? std::move(shared->request.prompt) : shared->request.prompt;
    }
    sequence->constraint = sample == num_samples - 1 ? std::move(constraint) : constraint;
    sequence->num_prompt_tokens = num_prompt_tokens;
    sequence->max_tokens = max_tokens;
    sequence->seed = seed + sample;
    // All samples but the first find the prompt read and computed.
    sequence->num_read_tokens = sample == 0 && reads_prompt ? 0 : num_prompt_tokens;
    sequence->num_prompt_tokens_computed = sample == 0 ? 0 : num_prompt_tokens;
    sequences.push_back(std::move(sequence));
  }
  return sequences;
}

bool comes_before(const Sequence& a, const Sequence& b) {
  const auto key = [](const Sequence& s) { return std::tuple(s.request().priority, s.id(), s.sample); };
  return key(a) < key(b);
}

void fill_mask(Sequence& sequence, int vocab_size) {
  if (!sequence.constraint || sequence.is_mask_filled) return;
  sequence.mask.resize((vocab_size + 31) / 32);
  sequence.constraint->fill_mask(sequence.mask);
  sequence.is_mask_filled = true;
}

}  // namespace kvasir::engine
