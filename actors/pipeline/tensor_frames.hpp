#pragma once

// What the port of a lane process and that process say to each other about tensors in shared
// memory (supervision/channel.hpp, lane_frames.hpp):
//
//   port → lane   share     a region: its number and size, its memfd attached
//   port → lane   forget    a region's number
//   port → lane   tensors   orders: runs of tensors, where they lie, where their planes go; or
//                           steps on rows of a large one. Small ones go together: each frame costs
//                           two wakes
//   lane → port   encoded   what came of all orders of a frame, in their turn
//
// Orders say regions and offsets. A tensor's bytes go through no frame.

#include "actors/lane_frames.hpp"
#include "actors/pipeline/encoded.hpp"
#include "actors/pipeline/shard_steps.hpp"
#include "actors/pipeline/tensor_view.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace viva::actors {

namespace lane_kind {
inline constexpr std::uint16_t share = lease + 1, forget = share + 1, tensors = forget + 1,
                               encoded = tensors + 1;
} // namespace lane_kind

struct region_note {
  std::uint32_t id = 0;
  std::uint64_t bytes = 0;
  bool stays = false; ///< A byte of it that was read or made once never is another one later.
  bool holes = false; ///< It is full of them, and takes memory only where it is touched.
};

/// Tensors of one shape, one after the other in their region, as their planes are in theirs.
struct tensor_run {
  std::uint32_t region = 0;
  std::uint64_t offset = 0; ///< Of the first tensor's first byte.
  std::uint64_t rows = 0, cols = 0, row_bytes = 0;
  std::uint64_t to = 0;                ///< Of the first tensor's planes, in the order's `out`.
  std::uint32_t slot = 0, count = 0;

  std::uint64_t source_bytes(dtype type) const noexcept; ///< Of the run, from first to last byte.
};

/// Tensors of one order at most: what a lane sets aside for each is bounded by what it is told.
inline constexpr std::uint32_t slots_max = 1u << 20;

struct tensor_order {
  std::uint64_t number = 0;
  std::string method;
  dtype type = dtype::f32;
  std::uint32_t slots = 0; ///< Tensors, those refused before among them.
  std::uint32_t out = 0;   ///< Region of results.
  bool measure = false;    ///< Decode each result again, and say how far it is from its source.
  std::vector<tensor_run> runs;
  std::vector<shard_step> steps;    ///< In this order, until one is refused.
  std::vector<attend_step> attends; ///< After those, and counted with them.

  std::size_t steps_count() const noexcept {
    return steps.size() + attends.size();
  }
};

struct tensor_problem {
  std::uint32_t slot = 0; ///< Or the step.
  errc code = errc::ok;
  std::uint64_t position = 0;
};

struct tensor_receipt {
  std::uint64_t number = 0, took_ns = 0, peak_rss = 0;
  std::vector<tensor_problem> problems;         ///< By slot.
  std::vector<kernels::tensor_numbers> numbers; ///< One a slot where the method has any.
  std::vector<tensor_error> errors;             ///< One a slot where the order said `measure`.
  std::vector<kernels::survey> seen;            ///< One a step that is a survey.
};

/// What refused a step, if any did; nothing where that is none of `steps`, or they were no steps.
std::optional<status> problem_of(const tensor_receipt&, std::size_t steps);

std::string encode(const region_note&);
std::string encode(const std::vector<tensor_order>&);
std::string encode(const std::vector<tensor_receipt>&);
/// Nothing where the bytes are not exactly one, or one after the other, at least one.
std::optional<region_note> decode_region(std::string_view bytes);
std::optional<std::vector<tensor_order>> decode_tensors(std::string_view bytes);
std::optional<std::vector<tensor_receipt>> decode_encoded(std::string_view bytes);

} // namespace viva::actors
