#pragma once

// Shard steps: what a lane process does to rows of one tensor in shared memory, as thread lanes do
// it to memory of this process. An order (tensor_frames.hpp) has runs of small tensors or steps.

#include "actors/frame_bytes.hpp"
#include "kernels/attention.hpp"
#include "kernels/registry.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace viva::actors {

class shared_region;

struct shard_step {
  enum class kind : std::uint8_t { survey, encode };
  kind what = kind::encode;
  std::string method;
  kernels::dtype type = kernels::dtype::f32;
  /// The whole tensor and where it begins; of it, rows [first, first + count).
  std::uint32_t from = 0; ///< Region.
  std::uint64_t offset = 0, rows = 0, cols = 0, row_bytes = 0;
  std::uint64_t first = 0, count = 0;
  kernels::tensor_numbers numbers; ///< Of encode.
  /// Where the planes of the whole tensor begin, as `map_planes` has them; of encode.
  std::uint32_t to = 0; ///< Region.
  std::uint64_t to_offset = 0;
};

/// Of q, k or v: rows at strides of bytes from `offset` on, or planes as `map_planes` has them.
struct attend_side {
  std::uint32_t region = 0;
  std::uint64_t offset = 0;
  kernels::dtype type = kernels::dtype::f32;
  kernels::attention::strides bytes{};
  std::uint64_t skipped = 0; ///< Row i is row skipped + i.
  std::string method;        ///< Of planes; empty: rows.
  kernels::tensor_numbers numbers{};
  std::uint64_t rows_count = 0, cols = 0, head_columns = 0;
  kernels::attention::strides rows{}; ///< Of planes, in rows.
};

struct attend_bias {
  std::uint32_t region = 0; ///< 0: none.
  std::uint64_t offset = 0; ///< Of the first float.
  kernels::attention::strides values{};
};

/// Pieces [first, first + count) of attention over a range of keys.
struct attend_step {
  kernels::attention::shape of;
  attend_side q, k, v;
  attend_bias bias;
  std::uint32_t to = 0; ///< Region.
  std::uint64_t out = 0, lse = 0; ///< Of all pieces, packed; offsets.
  kernels::dtype type = kernels::dtype::f32;
  std::uint64_t first = 0, count = 1;
};

void put(frame_writer&, const attend_step&);
void take(frame_reader&, attend_step&);
void put(frame_writer&, const shard_step&);
void take(frame_reader&, shard_step&);
void put(frame_writer&, const kernels::survey&);
void take(frame_reader&, kernels::survey&);

} // namespace viva::actors
