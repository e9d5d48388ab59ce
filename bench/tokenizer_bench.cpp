// Encoding speed on one core, in MB of text per second, on generated English prose.

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "bench/machine.h"
#include "tokenizer/tokenizer.h"

namespace kvasir {
namespace {

// Sentences whose words come as often as words of their rank do (Zipf's law).
std::string make_prose(std::size_t bytes) {
  const char* const words[] = {"the",
                               "of",
                               "and",
                               "to",
                               "in",
                               "a",
                               "that",
                               "was",
                               "he",
                               "it",
                               "with",
                               "as",
                               "his",
                               "for",
                               "had",
                               "on",
                               "not",
                               "be",
                               "at",
                               "by",
                               "which",
                               "from",
                               "this",
                               "but",
                               "they",
                               "were",
                               "have",
                               "an",
                               "one",
                               "said",
                               "there",
                               "when",
                               "would",
                               "who",
                               "all",
                               "their",
                               "more",
                               "been",
                               "no",
                               "will",
                               "before",
                               "water",
                               "morning",
                               "river",
                               "because",
                               "children",
                               "people",
                               "through",
                               "house",
                               "thought",
                               "between",
                               "mountain",
                               "different",
                               "question",
                               "language",
                               "winter",
                               "quickly",
                               "important",
                               "remember",
                               "together",
                               "government",
                               "experience",
                               "computer",
                               "science",
                               "beautiful",
                               "village",
                               "yesterday",
                               "bicycle",
                               "knowledge",
                               "understand",
                               "sufficient",
                               "telescope",
                               "harvest",
                               "lantern",
                               "whisper",
                               "orchard",
                               "carpenter",
                               "merchant",
                               "umbrella",
                               "quarrel",
                               "vineyard",
                               "apparently",
                               "circumstance",
                               "extraordinary",
                               "neighbourhood",
                               "photograph",
                               "philosophy",
                               "responsibility"};
  std::mt19937 random(1);
  std::vector<double> weights;
  for (std::size_t i = 0; i < std::size(words); ++i) weights.push_back(1.0 / static_cast<double>(i + 2));
  std::discrete_distribution<std::size_t> word(weights.begin(), weights.end());
  std::string text;
  while (text.size() < bytes) {
    const std::size_t length = 5 + random() % 15;
    for (std::size_t i = 0; i < length; ++i) {
      std::string next = words[word(random)];
      if (i == 0) next[0] = static_cast<char>(next[0] - 'a' + 'A');
      text += i == 0 ? "" : (random() % 12 == 0 ? ", " : " ");
      text += random() % 60 == 0 ? std::to_string(random() % 3000) : next;
    }
    text += random() % 8 == 0 ? ".\n\n" : ". ";
  }
  return text;
}

int run(int argc, char** argv) {
  std::vector<std::string> paths = {KVASIR_SOURCE_DIR "/models/tiny/tokenizer.json"};
  CLI::App app("Encoding speed on one core");
  app.add_option("tokenizer", paths, "tokenizer.json files; default: the embedded model's");
  CLI11_PARSE(app, argc, argv);

  const ThreadPool pool(1);
  fmt::print("{}\n\n", bench::describe_machine(pool, "none"));
  const std::string prose = make_prose(4 << 20);
  fmt::print("{:<50}{:>12}{:>12}{:>14}\n", "tokenizer", "median MB/s", "best MB/s", "bytes/token");
  for (const std::string& path : paths) {
    std::ifstream file(path, std::ios::binary);
    const std::string json(std::istreambuf_iterator<char>(file), {});
    const auto tokenizer = tokenizer::Tokenizer::from_json(path, json);
    if (!tokenizer.ok()) {
      fmt::print(stderr, "{}\n", tokenizer.status().message());
      return 1;
    }
    std::vector<double> speeds;
    std::size_t num_tokens = 0;
    for (int i = 0; i < 7; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      num_tokens = (*tokenizer)->encode(prose)->size();
      const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
      speeds.push_back(static_cast<double>(prose.size()) / 1e6 / elapsed.count());
    }
    std::sort(speeds.begin(), speeds.end());
    const std::string name = path.size() > 48 ? "..." + path.substr(path.size() - 45) : path;
    fmt::print("{:<50}{:>12.1f}{:>12.1f}{:>14.2f}\n", name, speeds[speeds.size() / 2], speeds.back(),
               static_cast<double>(prose.size()) / static_cast<double>(num_tokens));
  }
  return 0;
}

}  // namespace
}  // namespace kvasir

int main(int argc, char** argv) {
  return kvasir::run(argc, argv);
}
