#pragma once

// Stacks: 2:4 pruning, then one encoding of what is kept.
//
// Name      sparse24+METHOD or sparse24-cutlass+METHOD, whose options METHOD's are; since no engine
//           reads stacks, nf4 is the nf4-f16 here, and nf4-dq has the offset 0
// Planes    METHOD's planes of the kept values, a tensor of (rows, cols / 2) · last the bitmask of
//           sparse24, or the metadata of sparse24-cutlass
// Encode    prune as sparse24 does; METHOD encodes the kept values in order. Metadata is that of
// the
//           codes: a value whose code is zero counts as zero, as it does to who compresses the
//           dequantized tensor. METHOD sees no channels: they were spent on the choice.
// Decode    METHOD's, then the values at their columns, +0 elsewhere
// Bound     kept values as METHOD's header says of them alone; the others as sparse24's
// Exactness as METHOD's; runs of rows start where METHOD's may on cols / 2 columns, and sparse24's.
//
// Bits per value are half of METHOD's and one.

#include "kernels/registry.hpp"

namespace viva::kernels::sparse24_stack {

/// A stack, taken apart for `cols` columns.
struct parts {
  recipe inner;         ///< METHOD, for the kept values.
  geometry shape;       ///< Of the kept values.
  std::size_t mask = 0; ///< Number of the bitmask's or metadata's plane.
  bool cutlass = false;

  std::uint64_t grain() const noexcept;
};
parts parts_of(const recipe&, std::uint64_t cols);

geometry shape(const recipe&, std::uint64_t cols);
encode_fn encode_reference, encode_simd;
decode_fn decode_reference, decode_simd;

} // namespace viva::kernels::sparse24_stack
