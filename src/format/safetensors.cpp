#include "format/safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/bytes.h"
#include "base/json.h"
#include "format/gguf_names.h"
#include "format/printable.h"

namespace kvasir::format {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxHeaderBytes = 32u << 20;
constexpr std::size_t kMaxDimensions = 16;

struct DtypeInfo {
  std::string_view name;
  int bits;
  TensorDtype dtype;
};

constexpr DtypeInfo kDtypes[] = {
    {"F32", 32, TensorDtype::kF32},      {"F16", 16, TensorDtype::kF16},
    {"BF16", 16, TensorDtype::kBf16},    {"BOOL", 8, TensorDtype::kOther},
    {"U8", 8, TensorDtype::kOther},      {"I8", 8, TensorDtype::kOther},
    {"F8_E5M2", 8, TensorDtype::kOther}, {"F8_E4M3", 8, TensorDtype::kOther},
    {"F8_E8M0", 8, TensorDtype::kOther}, {"F4", 4, TensorDtype::kOther},
    {"F6_E2M3", 6, TensorDtype::kOther}, {"F6_E3M2", 6, TensorDtype::kOther},
    {"I16", 16, TensorDtype::kOther},    {"U16", 16, TensorDtype::kOther},
    {"I32", 32, TensorDtype::kOther},    {"U32", 32, TensorDtype::kOther},
    {"I64", 64, TensorDtype::kOther},    {"U64", 64, TensorDtype::kOther},
    {"F64", 64, TensorDtype::kOther},    {"C64", 64, TensorDtype::kOther},
};

std::optional<std::uint64_t> as_count(const json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  return value.get<std::uint64_t>();
}

// One entry of the header. `data`: all that follows the header.
Result<TensorInfo> read_entry(const std::string& file, const std::string& name, const json& entry,
                              std::span<const std::byte> data) {
  const std::string tensor = printable(name);
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets")) {
    return error(StatusCode::kCorrupt,
                 "{}: tensor '{}': expected an object with dtype, shape and data_offsets", file, tensor);
  }
  TensorInfo info;
  info.file = file;
  if (!entry["dtype"].is_string()) {
    return error(StatusCode::kCorrupt, "{}: tensor '{}': dtype: expected a string, got {}", file, tensor,
                 entry["dtype"].type_name());
  }
  info.dtype_name = entry["dtype"].get<std::string>();
  const auto dtype = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                  [&](const DtypeInfo& known) { return known.name == info.dtype_name; });
  if (dtype == std::end(kDtypes)) {
    return error(StatusCode::kCorrupt, "{}: tensor '{}': unknown dtype '{}'", file, tensor,
                 printable(info.dtype_name));
  }
  info.dtype = dtype->dtype;

  const json& shape = entry["shape"];
  if (!shape.is_array() || shape.size() > kMaxDimensions) {
    return error(StatusCode::kCorrupt, "{}: tensor '{}': shape: expected an array of at most {} numbers",
                 file, tensor, kMaxDimensions);
  }
  std::uint64_t num_bits = dtype->bits;
  for (const json& dimension : shape) {
    const auto count = as_count(dimension);
    if (!count || *count > INT64_MAX || __builtin_mul_overflow(num_bits, *count, &num_bits)) {
      return error(StatusCode::kCorrupt, "{}: tensor '{}': shape {}: expected counts whose product is a size",
                   file, tensor, printable(shape.dump(-1, ' ', false, json::error_handler_t::replace)));
    }
    info.shape.push_back(static_cast<std::int64_t>(*count));
  }

  const json& offsets = entry["data_offsets"];
  const auto begin = offsets.is_array() && offsets.size() == 2 ? as_count(offsets[0]) : std::nullopt;
  const auto end = offsets.is_array() && offsets.size() == 2 ? as_count(offsets[1]) : std::nullopt;
  if (!begin || !end || *begin > *end) {
    return error(StatusCode::kCorrupt, "{}: tensor '{}': data_offsets: expected [begin, end]", file, tensor);
  }
  if (*end > data.size()) {
    return error(StatusCode::kCorrupt, "{}: tensor '{}': ends at byte {} of the data, but the file has {}",
                 file, tensor, *end, data.size());
  }
  if (num_bits % 8 != 0 || *end - *begin != num_bits / 8) {
    return error(StatusCode::kCorrupt, "{}: tensor '{}': has {} bytes, but {} of shape {} takes {}", file,
                 tensor, *end - *begin, info.dtype_name, shape.dump(), num_bits / 8);
  }
  info.data = data.subspan(*begin, *end - *begin);
  return info;
}

// The data is covered once: no holes, no overlaps.
Status check_coverage(const std::string& file, const TensorMap& tensors, std::span<const std::byte> data) {
  std::vector<const TensorMap::value_type*> by_place;
  for (const auto& tensor : tensors) by_place.push_back(&tensor);
  const auto begin = [&](const auto* tensor) { return tensor->second.data.data() - data.data(); };
  std::sort(by_place.begin(), by_place.end(), [&](const auto* a, const auto* b) {
    return std::pair(begin(a), a->second.data.size()) < std::pair(begin(b), b->second.data.size());
  });
  std::ptrdiff_t end = 0;
  for (const auto* tensor : by_place) {
    if (begin(tensor) != end) {
      return error(StatusCode::kCorrupt,
                   "{}: tensor '{}': expected to begin at byte {} of the data, {} at {}", file,
                   printable(tensor->first), end,
                   begin(tensor) < end ? "overlaps its neighbour" : "leaves a hole", begin(tensor));
    }
    end += static_cast<std::ptrdiff_t>(tensor->second.data.size());
  }
  if (static_cast<std::size_t>(end) != data.size()) {
    return error(StatusCode::kCorrupt, "{}: {} bytes of data belong to no tensor", file, data.size() - end);
  }
  return Status();
}

Result<TensorMap> read_shards(ModelFiles& files) {
  const std::string_view index_name = "model.safetensors.index.json";
  const std::string index_path = files.path(index_name);
  KVASIR_ASSIGN_OR_RETURN(const json index, files.read_json(index_name));
  if (!index.contains("weight_map") || !index["weight_map"].is_object() || index["weight_map"].empty()) {
    return error(StatusCode::kCorrupt, "{}: weight_map: expected an object of tensor names and files",
                 index_path);
  }
  std::map<std::string, TensorMap> shards;
  TensorMap tensors;
  for (const auto& [name, file] : index["weight_map"].items()) {
    if (!file.is_string()) {
      return error(StatusCode::kCorrupt, "{}: weight_map: tensor '{}': expected a file name, got {}",
                   index_path, printable(name), file.type_name());
    }
    const auto shard_name = file.get<std::string>();
    auto shard = shards.find(shard_name);
    if (shard == shards.end()) {
      const auto bytes = files.read(shard_name);
      if (!bytes.ok()) {
        return error(bytes.status().code(), "{}: weight_map: tensor '{}': {}", index_path, printable(name),
                     bytes.status().message());
      }
      KVASIR_ASSIGN_OR_RETURN(TensorMap parsed, parse_safetensors(files.path(shard_name), *bytes));
      shard = shards.emplace(shard_name, std::move(parsed)).first;
    }
    auto node = shard->second.extract(name);
    if (node.empty()) {
      return error(StatusCode::kCorrupt, "{}: weight_map: tensor '{}' is not in {}", index_path,
                   printable(name), printable(shard_name));
    }
    tensors.insert(std::move(node));
  }
  return tensors;
}

}  // namespace

Result<TensorMap> parse_safetensors(const std::string& name, std::span<const std::byte> bytes) {
  std::uint64_t header_bytes = 0;
  if (bytes.size() < sizeof header_bytes) {
    return error(StatusCode::kCorrupt, "{}: expected a safetensors file, got {} bytes", name, bytes.size());
  }
  for (int i = 7; i >= 0; --i) header_bytes = header_bytes << 8 | static_cast<std::uint64_t>(bytes[i]);
  const std::span<const std::byte> rest = bytes.subspan(sizeof header_bytes);
  if (header_bytes > rest.size() || header_bytes > kMaxHeaderBytes) {
    return error(StatusCode::kCorrupt, "{}: its header claims {} bytes; expected at most {}", name,
                 header_bytes, std::min<std::uint64_t>(rest.size(), kMaxHeaderBytes));
  }
  const Result<json> header = parse_json(name + ": header", as_text(rest.first(header_bytes)), 8);
  if (!header.ok()) return Status(StatusCode::kCorrupt, header.status().message());
  if (!header->is_object()) {
    return error(StatusCode::kCorrupt, "{}: header: expected a JSON object, got {}", name,
                 header->type_name());
  }
  const std::span<const std::byte> data = rest.subspan(header_bytes);
  TensorMap tensors;
  for (const auto& [tensor_name, entry] : header->items()) {
    if (tensor_name == "__metadata__") continue;
    KVASIR_ASSIGN_OR_RETURN(TensorInfo info, read_entry(name, tensor_name, entry, data));
    tensors.emplace(tensor_name, std::move(info));
  }
  KVASIR_RETURN_IF_ERROR(check_coverage(name, tensors, data));
  return tensors;
}

Result<TensorMap> read_tensors(ModelFiles& files) {
  if (files.gguf() != nullptr) return gguf_tensors(*files.gguf());
  const std::string_view single = "model.safetensors";
  if (!files.has(single) && files.has("model.safetensors.index.json")) return read_shards(files);
  KVASIR_ASSIGN_OR_RETURN(const auto bytes, files.read(single));
  return parse_safetensors(files.path(single), bytes);
}

}  // namespace kvasir::format
