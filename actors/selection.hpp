#pragma once

// Selection: which tensors a quantize job encodes and by which method, from names and expressions.
//
// Expressions are RE2's (https://github.com/google/re2/wiki/Syntax), searched for anywhere in a
// name. Names come out of files nobody vouches for; RE2 looks at each byte a bounded number of
// times, where a backtracking engine may run for ever or out of stack.

#include "actors/job.hpp"
#include "formats/safetensors.hpp"

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace re2 {
class RE2;
}

namespace viva::actors {

class selection {
public:
  /// Compiles every expression and checks every method, also of rules that no name will meet.
  static expected<selection> of(const quantize_spec&);

  selection(selection&&) noexcept;
  ~selection();

  /// The method of a tensor; empty where it is copied. The first rule that fits wins.
  std::string method_of(const formats::tensor_entry&) const;

private:
  using expression = std::unique_ptr<const re2::RE2>;

  selection();
  static expected<expression> compile(const std::string& text);

  std::vector<expression> x_include, x_exclude;
  std::vector<std::pair<expression, std::string>> x_rules;
  std::string x_method;
};

} // namespace viva::actors
