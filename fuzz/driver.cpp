// Runs a fuzz target without a fuzzing engine: on every file of a corpus, then on random mutations of them
// for KVASIR_FUZZ_SECONDS seconds. KVASIR_FUZZ_SEED repeats a run. A crash leaves its input in crash.bin.

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

std::string current;  // the input that is being run

extern "C" void save_input(int signal) {
  if (std::FILE* file = std::fopen("crash.bin", "wb")) {
    std::fwrite(current.data(), 1, current.size(), file);
    std::fclose(file);
  }
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void run(std::string input) {
  current = std::move(input);
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(current.data()), current.size());
}

std::uint64_t number_from_environment(const char* name, std::uint64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr ? fallback : std::strtoull(text, nullptr, 10);
}

// One to eight small changes: bytes, numbers, pieces of itself or of another input.
std::string mutate(std::string input, const std::string& other, std::mt19937_64& random) {
  const char* const kPieces[] = {"null", "0",    "-1",   "1e400",   "18446744073709551615", "[]", "{}",
                                 "\"\"", "true", "[[[[", "\\u0000", "9007199254740993",     ",",  "\xff"};
  const auto below = [&](std::size_t limit) { return limit == 0 ? 0 : random() % limit; };
  for (std::size_t count = 1 + below(8); count > 0; --count) {
    const std::size_t at = below(input.size() + 1);
    switch (below(7)) {
      case 0:
        if (at < input.size()) input[at] = static_cast<char>(random());
        break;
      case 1:
        input.insert(at, 1, static_cast<char>(random()));
        break;
      case 2:
        input.erase(at, below(32));
        break;
      case 3:
        input.insert(at, kPieces[below(std::size(kPieces))]);
        break;
      case 4:
        input.replace(at, below(24), kPieces[below(std::size(kPieces))]);
        break;
      case 5:
        input.insert(at, input.substr(below(input.size()), below(64)));
        break;
      default:
        input.replace(at, below(64), other.substr(below(other.size()), below(64)));
    }
  }
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  for (const int signal : {SIGSEGV, SIGABRT, SIGFPE, SIGBUS, SIGILL}) std::signal(signal, save_input);
  std::vector<std::string> corpus;
  for (const auto& file : std::filesystem::directory_iterator(argc > 1 ? argv[1] : ".")) {
    std::ifstream stream(file.path(), std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
  }
  if (corpus.empty()) {
    std::fprintf(stderr, "%s: expected a folder with a corpus\n", argv[0]);
    return 1;
  }
  for (const std::string& input : corpus) run(input);
  const std::uint64_t seed = number_from_environment("KVASIR_FUZZ_SEED", std::random_device{}());
  std::printf("corpus of %zu inputs done; mutating with KVASIR_FUZZ_SEED=%llu\n", corpus.size(),
              static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  std::mt19937_64 random(seed);
  const auto end = std::chrono::steady_clock::now() +
                   std::chrono::seconds(number_from_environment("KVASIR_FUZZ_SECONDS", 2));
  std::uint64_t count = 0;
  for (; std::chrono::steady_clock::now() < end; ++count) {
    run(mutate(corpus[random() % corpus.size()], corpus[random() % corpus.size()], random));
  }
  std::printf("%llu mutations\n", static_cast<unsigned long long>(count));
}
