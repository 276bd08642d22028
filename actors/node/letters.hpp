#pragma once

// Letters: what a coordinator and a node say to each other, as strings of bytes. CAF carries them;
// it reads nothing of them, so no number of ours takes its formats (it loses NaN and infinity).
//
//   link → reception   hello      who am I, what do I want   answered by welcome, and a session
//   link → session     assign     the job                    answered by assigned
//   session → link     lane_up, lane_down                    lanes of the node come and go
//   link → session     work       one batch for one lane     a work_order (lane_frames.hpp)
//   session → link     receipts   of one batch               work_receipts
//   session → link     draining   the node wants to leave: no more work
//
// Where the node does not see the job's files, each batch, and first the job itself, takes a turn
// over the bulk path (bulk.hpp), whose ranges the node opens and the link fills and reads:
//
//   session → link     ready      what this batch reads may be brought
//   link → session     brought    it is there: on to the lane, or to planning
//   link → session     let_go     what it wrote was fetched, or nobody wants it any more
//
// A pipeline, which has no job, borrows a lane; what it says to it is what it says to a process of
// its own (pipeline/tensor_frames.hpp), whose tensors go over the bulk path:
//
//   link → session     lend       answered by assigned
//   both ways          frame      one of tensor_frames
//
// Every letter carries its stamp, and who reads one of another stamp drops it: it comes from an
// earlier life of the coordinator, of the node, or of what they had with each other. Numbers are
// little-endian, as on every machine that a build of ours runs on.

#include "actors/job.hpp"
#include "actors/node/manifest.hpp"
#include "kernels/registry.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace viva::actors::node {

struct stamp {
  std::uint64_t epoch = 0;       ///< Of the coordinator's process: a random number.
  std::uint64_t incarnation = 0; ///< Of the node's process: another.
  std::uint64_t join = 0;        ///< How often they have met, counted by the coordinator.
  friend bool operator==(const stamp&, const stamp&) = default;
};

enum class word : std::uint8_t {
  hello = 1, welcome, assign, assigned, lane_up, lane_down, work, receipts, draining, ready,
  brought, let_go, lend, frame
};

struct letter {
  word what = word::hello;
  stamp of;
  std::string body;
};

std::string encode(const letter&);
/// Nothing where the bytes are no letter of this version.
std::optional<letter> decode_letter(std::string_view bytes);

/// Bodies. Each has `encode` and a `decode_…` that gives nothing where bytes are missing or left.
struct hello {
  std::string build;  ///< build_words of the coordinator.
  /// `look` only wants to know how the node is: no session.
  enum class wish : std::uint8_t { job, look, lane } wants = wish::job;
};

struct welcome {
  error problem;     ///< code ok: come in.
  std::string build; ///< The node's build_words.
  std::string host;
  std::uint32_t pid = 0, lanes = 0, jobs = 0;
  std::uint64_t restarts = 0, shards = 0, up_ms = 0;
  /// Connections that its two side ports closed, as `bulk_counts` has them. CAF, which has the port
  /// of letters, closes them, too, but counts nothing.
  std::uint64_t strangers = 0, garbage = 0;
  std::uint64_t fenced = 0; ///< How often a coordinator was not heard for so long that lanes had to
                            ///< leave its job's files alone (leases.hpp).
};

struct assign {
  std::string assignment; ///< assignment.hpp; names of files as the coordinator has them.
  fault_plan faults{};
  std::optional<manifest> files{}; ///< None: the node sees the same ones by the same names.
};

/// Whether it has any of the faults that an assign carries: those of lanes.
bool has_lane_faults(const fault_plan&);

/// Of ready, brought and let_go: a batch by its number; the job's own files by no number.
struct turn {
  static constexpr std::uint64_t of_job = ~0ull;
  std::uint64_t number = of_job;
};

struct lane_news {
  std::uint32_t lane = 0, life = 0;
  std::uint8_t fault = 0; ///< Of lane_down: a supervision::fault, 0 where it was none of ours.
  std::uint32_t mark = 0; ///< The shard that it was executing, or no_shard.
  std::string text;
};

/// Of lend: `attention_words` of both must be equal.
struct loan {
  std::string attention;
};

struct passage {
  std::uint16_t kind = 0; ///< lane_kind.
  std::string bytes;
};

/// A work_order or work_receipts of one life of a lane.
struct parcel {
  std::uint32_t lane = 0, life = 0;
  std::string bytes;
};

std::string encode(const hello&);
std::string encode(const welcome&);
std::string encode(const assign&);
std::string encode(const error&); ///< The body of `assigned`.
std::string encode(const lane_news&);
std::string encode(const parcel&);
std::string encode(const turn&);
std::string encode(const loan&);
std::string encode(const passage&);
std::optional<hello> decode_hello(std::string_view);
std::optional<welcome> decode_welcome(std::string_view);
std::optional<assign> decode_assign(std::string_view);
std::optional<error> decode_error(std::string_view);
std::optional<lane_news> decode_lane_news(std::string_view);
std::optional<parcel> decode_parcel(std::string_view);
std::optional<turn> decode_turn(std::string_view);
std::optional<loan> decode_loan(std::string_view);
std::optional<passage> decode_passage(std::string_view);

/// Version, frames, letters, and what the kernels make of a fixed matrix: two programs of equal
/// words give equal bytes. A coordinator says what its references make, a node its fast paths, as
/// a lane process does.
std::string build_words(kernels::path by);

/// Of this life of this process; random, and different from 0.
std::uint64_t own_incarnation();

} // namespace viva::actors::node
