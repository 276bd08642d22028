#pragma once

// Known answer: what the kernels make of a fixed matrix, as one number. A guardian computes it by
// the references, a lane process by its fast paths; where they differ, the lane is never ready.
// Attention has no reference of equal bytes: there the fast paths of two machines are compared.

#include "kernels/registry.hpp"

#include <functional>
#include <string>

namespace viva::actors {

/// Encodes by whichever way is to be proved.
using encode_way
  = std::function<status(const kernels::recipe&, const kernels::matrix& in,
                         const kernels::tensor_numbers&, std::span<std::byte* const> out)>;

/// 16 hexadecimal digits; some milliseconds by the references.
std::string known_answer(const encode_way& way);
std::string known_answer(kernels::path which);

/// The same of attention: out and log-sum-exp of a fixed problem with causal masks and keys of
/// several tiles, few queries and many; in f32, f16, bf16 and with k and v as q8_0. Computed once a
/// process; 16 hexadecimal digits.
const std::string& attention_answer();

/// What a lane process says when it is ready: version, frames, known answer.
std::string ready_words(const encode_way& way);
std::string ready_words(kernels::path which);

} // namespace viva::actors
