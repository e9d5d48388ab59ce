#pragma once

// Two schemas that both hold, as one: for allOf, and for keywords beside anyOf, oneOf and $ref.

#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/status.h"

namespace kvasir::grammar {

using Json = nlohmann::ordered_json;

// kUnsupported or kInvalidArgument for the keyword at a JSON pointer.
Status schema_error(StatusCode code, const std::string& pointer, const std::string& keyword,
                    const std::string& what);

// `pointer`/`token`, the token escaped.
std::string pointer_to(const std::string& pointer, const std::string& token);

// Does not affect which instances are valid.
bool is_annotation(const std::string& keyword);

// The types that an instance may have: those named, or those of the constants, or those that the keywords are
// about (a schema with `properties` means objects), or all. "integer" is there with "number".
std::set<std::string> types_of(const Json& schema);

// The values of `const` and `enum`; nothing when the schema has neither.
std::optional<std::vector<Json>> constants_of(const Json& schema);

// Looks up and merges within one document; borrowed, must outlive this.
class SchemaMerger {
 public:
  explicit SchemaMerger(const Json& root) : root_(root) {}

  // What the reference `ref`, found at `pointer`, means. Errors: kUnsupported for one into another document,
  // kInvalidArgument for one that is not there.
  Result<const Json*> resolve(const std::string& ref, const std::string& pointer) const;

  // `schema` without $ref and allOf at its top, which are merged into it. Errors: as merge().
  Result<Json> flatten(const Json& schema, const std::string& pointer, int depth = 0);

  // A schema whose instances are those of both. `false` when they cannot have any.
  // Errors: kUnsupported, kInvalidArgument naming the keyword; kInvalidArgument when it takes too many steps.
  Result<Json> merge(const Json& a, const Json& b, const std::string& pointer, int depth = 0);

  // Whether no instance is one of both, as far as types, constants and required properties tell.
  bool are_disjoint(const Json& a, const Json& b, const std::string& pointer, int depth = 0);

 private:
  Status charge(std::size_t num_steps, const std::string& pointer);
  Result<Json> merge_keyword(const std::string& keyword, const Json& a, const Json& b,
                             const std::string& pointer, int depth);
  Status merge_properties(const Json& a, const Json& b, Json& result, const std::string& pointer, int depth);

  const Json& root_;
  std::size_t num_steps_ = 0;
};

}  // namespace kvasir::grammar
