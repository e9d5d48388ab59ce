// `kvasir bench make-model`: a Hugging Face folder with random weights.

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <memory>

#include "bench/bench.h"
#include "bench/random_model.h"

namespace kvasir::bench {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string shape = model_shapes().front().name, folder, dtype = "bf16";
  std::uint64_t seed = 1;
};

Status io_error(const fs::path& path, int number) {
  return error(StatusCode::kIo, "{}: {}", path.string(), std::strerror(number));
}

class OutputFile {
 public:
  static Result<OutputFile> create(fs::path path) {
    const int descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (descriptor < 0) return io_error(path, errno);
    return OutputFile(std::move(path), descriptor);
  }
  OutputFile(OutputFile&& other) noexcept
      : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}
  ~OutputFile() {
    if (descriptor_ >= 0) close(descriptor_);
  }

  Status write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::write(descriptor_, bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return io_error(path_, errno);
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
    return Status();
  }

 private:
  OutputFile(fs::path path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}

  fs::path path_;
  int descriptor_;
};

// A folder that comes to be as a whole or not at all: it has another name until then.
class NewFolder {
 public:
  static Result<NewFolder> create(const fs::path& path, std::size_t bytes_needed) {
    std::error_code failure;
    if (fs::exists(path, failure)) {
      return error(StatusCode::kInvalidArgument, "--out: '{}' exists already", path.string());
    }
    NewFolder folder(path);
    if (!fs::create_directories(folder.partial_, failure)) {
      folder.partial_.clear();
      return failure ? io_error(path, failure.value())
                     : error(StatusCode::kInvalidArgument,
                             "--out: '{}.partial' exists: another run writes it, or has died", path.string());
    }
    const fs::space_info space = fs::space(folder.partial_, failure);
    if (!failure && space.available < bytes_needed) {
      return error(StatusCode::kResourceExhausted, "--out: '{}' needs {} MB, the disk has {} MB left",
                   path.string(), bytes_needed >> 20, space.available >> 20);
    }
    return folder;
  }
  NewFolder(NewFolder&& other) noexcept
      : path_(std::move(other.path_)), partial_(std::exchange(other.partial_, {})) {}
  ~NewFolder() {
    std::error_code ignored;
    if (!partial_.empty()) fs::remove_all(partial_, ignored);
  }

  Result<OutputFile> file(const char* name) const { return OutputFile::create(partial_ / name); }
  Status write(const char* name, std::string_view text) const {
    KVASIR_ASSIGN_OR_RETURN(OutputFile out, file(name));
    return out.write(std::as_bytes(std::span(text)));
  }
  Status finish() {
    std::error_code failure;
    fs::rename(partial_, path_, failure);
    if (failure) return io_error(path_, failure.value());
    partial_.clear();
    return Status();
  }

 private:
  explicit NewFolder(const fs::path& path) : path_(path), partial_(path.string() + ".partial") {}

  fs::path path_, partial_;  // partial_ is empty once the folder is ours no more
};

constexpr char kTokenizerConfig[] = R"({
  "tokenizer_class": "PreTrainedTokenizerFast",
  "bos_token": "<s>",
  "eos_token": "</s>",
  "pad_token": "<pad>",
  "clean_up_tokenization_spaces": false
}
)";

Status make_model(const Options& options) {
  const auto begin = std::chrono::steady_clock::now();
  const ModelShape& shape = model_shape(options.shape);
  const backend::WeightDtype dtype = options.dtype == "f32"   ? backend::WeightDtype::kF32
                                     : options.dtype == "f16" ? backend::WeightDtype::kF16
                                                              : backend::WeightDtype::kBf16;
  const RandomModel model(shape, dtype, options.seed);
  fs::path path = fs::path(options.folder).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "folder/"
  KVASIR_ASSIGN_OR_RETURN(NewFolder folder, NewFolder::create(path, model.weights_bytes() + (4 << 20)));
  KVASIR_RETURN_IF_ERROR(folder.write("config.json", model.config() + "\n"));
  KVASIR_RETURN_IF_ERROR(folder.write("tokenizer.json", make_tokenizer(shape.vocab_size)));
  KVASIR_RETURN_IF_ERROR(folder.write("tokenizer_config.json", kTokenizerConfig));
  KVASIR_RETURN_IF_ERROR(folder.write(
      "README.md", fmt::format("Random weights in the shape of {}, for benchmarks: `kvasir bench make-model "
                               "--shape {} --dtype {} --seed {}`.\n",
                               shape.name, shape.name, options.dtype, options.seed)));
  KVASIR_ASSIGN_OR_RETURN(OutputFile weights, folder.file("model.safetensors"));
  ThreadPool pool(num_physical_cores());
  const bool is_terminal = isatty(STDERR_FILENO) != 0;
  std::size_t num_written = 0;
  KVASIR_RETURN_IF_ERROR(model.write_weights(pool, [&](std::span<const std::byte> bytes) {
    num_written += bytes.size();
    if (is_terminal) {
      fmt::print(stderr, "\rwriting {}: {:3}%", path.string(), 100 * num_written / model.weights_bytes());
    }
    return weights.write(bytes);
  }));
  if (is_terminal) fmt::print(stderr, "\n");
  KVASIR_RETURN_IF_ERROR(folder.finish());
  fmt::print("{}: {:.0f}M weights in {}, {} MB, in {:.1f} s\n", path.string(),
             static_cast<double>(model.num_weights()) / 1e6, options.dtype, model.weights_bytes() >> 20,
             std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  return Status();
}

}  // namespace

Command add_make_model(CLI::App& bench) {
  CLI::App* command =
      bench.add_subcommand("make-model", "Write a model with random weights, to be served and measured");
  const auto options = std::make_shared<Options>();  // shared by the flags and the command
  add_shape_option(*command, options->shape);
  command->add_option("--out", options->folder, "Folder to write; must not exist")->required();
  command->add_option("--dtype", options->dtype, "Type of the weights: bf16, f16, f32")
      ->check(CLI::IsMember({"bf16", "f16", "f32"}))
      ->capture_default_str();
  command->add_option("--seed", options->seed, "The same seed gives the same weights")->capture_default_str();
  return {command, [options] { return make_model(*options); }};
}

}  // namespace kvasir::bench
