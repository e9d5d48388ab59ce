#include "format/gguf_pre_tokenizer.h"

namespace kvasir::format {
namespace {

// The words of GPT-2: contractions, letters, digits and others, each with a space before.
constexpr char kGpt2[] = R"json({"type":"ByteLevel","add_prefix_space":false,"use_regex":true})json";

// The same with each digit apart.
constexpr char kStarCoder[] = R"json({"type":"Sequence","pretokenizers":[
  {"type":"Digits","individual_digits":true},
  {"type":"ByteLevel","add_prefix_space":false,"use_regex":true}]})json";

// Files that name no pre-tokenizer, or "default", mean this one of llama.cpp's, which no model was trained
// with.
constexpr char kDefault[] = R"json({"type":"Sequence","pretokenizers":[
  {"type":"Split","pattern":{"Regex":"[\\p{P}\\$\\+<=>\\^~\\|]+"},"behavior":"Isolated","invert":false},
  {"type":"ByteLevel","add_prefix_space":false,"use_regex":true},
  {"type":"Digits","individual_digits":false},
  {"type":"Split","pattern":{"Regex":"[0-9][0-9][0-9]"},"behavior":"Isolated","invert":false}]})json";

constexpr char kFalcon[] = R"json({"type":"Sequence","pretokenizers":[
  {"type":"Punctuation","behavior":"Contiguous"},
  {"type":"ByteLevel","add_prefix_space":false,"use_regex":true},
  {"type":"Digits","individual_digits":false},
  {"type":"Split","pattern":{"Regex":"[0-9][0-9][0-9]"},"behavior":"Isolated","invert":false}]})json";

constexpr char kLlama3[] = R"json({"type":"Sequence","pretokenizers":[
  {"type":"Split","pattern":{"Regex":"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
   "behavior":"Isolated","invert":false},
  {"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})json";

constexpr char kQwen2[] = R"json({"type":"Sequence","pretokenizers":[
  {"type":"Split","pattern":{"Regex":"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
   "behavior":"Isolated","invert":false},
  {"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})json";

constexpr char kSeedCoder[] = R"json({"type":"Sequence","pretokenizers":[
  {"type":"Split","pattern":{"Regex":"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
   "behavior":"Isolated","invert":false},
  {"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})json";

constexpr char kTekken[] = R"json({"type":"Sequence","pretokenizers":[
  {"type":"Split","pattern":{"Regex":"[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
   "behavior":"Isolated","invert":false},
  {"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})json";

constexpr char kGpt4o[] = R"json({"type":"Sequence","pretokenizers":[
  {"type":"Split","pattern":{"Regex":"[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
   "behavior":"Isolated","invert":false},
  {"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})json";

constexpr char kDeepSeekCoder[] = R"json({"type":"Sequence","pretokenizers":[
  {"type":"Split","pattern":{"Regex":"[\\r\\n]"},"behavior":"Isolated","invert":false},
  {"type":"Split","pattern":{"Regex":"\\s?\\p{L}+"},"behavior":"Isolated","invert":false},
  {"type":"Split","pattern":{"Regex":"\\s?\\p{P}+"},"behavior":"Isolated","invert":false},
  {"type":"Split","pattern":{"Regex":"[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"},
   "behavior":"Isolated","invert":false},
  {"type":"Digits","individual_digits":true},
  {"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})json";

constexpr char kDeepSeek3[] = R"json({"type":"Sequence","pretokenizers":[
  {"type":"Split","pattern":{"Regex":"\\p{N}{1,3}"},"behavior":"Isolated","invert":false},
  {"type":"Split","pattern":{"Regex":"[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"},
   "behavior":"Isolated","invert":false},
  {"type":"Split","pattern":{"Regex":"[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
   "behavior":"Isolated","invert":false},
  {"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})json";

constexpr GgufPreTokenizer kKnown[] = {
    {"default", kDefault},
    {"gpt-2", kGpt2},
    {"phi-2", kGpt2},
    {"roberta-bpe", kGpt2},
    {"mpt", kGpt2, /*normalizes=*/true},
    {"olmo", kGpt2, /*normalizes=*/true},
    {"starcoder", kStarCoder},
    {"refact", kStarCoder},
    {"smollm", kStarCoder},
    {"command-r", kStarCoder, /*normalizes=*/true},
    {"falcon", kFalcon},
    {"llama-bpe", kLlama3, false, /*ignore_merges=*/true, /*adds_bos=*/true},
    {"llama3", kLlama3, false, /*ignore_merges=*/true, /*adds_bos=*/true},
    {"llama-v3", kLlama3, false, /*ignore_merges=*/true, /*adds_bos=*/true},
    {"falcon3", kLlama3, false, /*ignore_merges=*/true, /*adds_bos=*/true},
    {"pixtral", kLlama3, false, /*ignore_merges=*/true, /*adds_bos=*/true},
    {"dbrx", kLlama3},
    {"smaug-bpe", kLlama3},
    {"qwen2", kQwen2, /*normalizes=*/true},
    {"deepseek-r1-qwen", kQwen2},
    {"tekken", kTekken, false, /*ignore_merges=*/true, /*adds_bos=*/true},
    {"gpt-4o", kGpt4o},
    {"llama4", kGpt4o},
    {"seed-coder", kSeedCoder},
    {"deepseek-coder", kDeepSeekCoder},
    {"deepseek-v3", kDeepSeek3},
};

}  // namespace

const GgufPreTokenizer* find_pre_tokenizer(std::string_view name) {
  for (const GgufPreTokenizer& known : kKnown) {
    if (name == known.name) return &known;
  }
  return nullptr;
}

}  // namespace kvasir::format
