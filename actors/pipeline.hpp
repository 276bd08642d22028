#pragma once

// Pipeline: tensors of this process through supervised lanes. The second way in.
//
//   viva::pipeline pipe{{.lanes = 2}};
//   auto q = pipe.quantize(viva::view_of(values), viva::nf4{});     // a future
//   for (auto&& [index, result] : pipe.stream(tensors, viva::int8{})) …
//
// Owns its actor system, its supervision tree and its threads; nothing is global. A lane that dies
// is restarted and its work runs again: callers notice nothing but time, and the bytes are the
// same. Nothing throws; errors name what, where and what to do.
//
// Views are read where they lie. The caller's bytes must stay, unchanged, until the answer is
// there: a future's until get(), or until its destructor returned; a stream's until the stream is
// gone. All functions may be called from any thread; one stream is one thread's.

#include "actors/isolation.hpp"
#include "actors/pipeline/attended.hpp"
#include "actors/pipeline/exposition.hpp"
#include "actors/pipeline/shared_bytes.hpp"
#include "actors/pipeline/stream.hpp"
#include "actors/pipeline/tensor_id.hpp"
#include "actors/snapshot.hpp"

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace viva {

struct pipeline_options {
  /// Threads that compute; 0: one for each core. With nodes, lanes of each of them; 0: one.
  std::uint32_t lanes = 0;
  /// Of lanes. To processes sources are copied, where they lie in no memory of `share`.
  viva::isolation isolation = viva::isolation::thread;
  /// For processes: the program viva, which is started as `PROGRAM lane`.
  std::filesystem::path lane_program{};
  std::uint64_t budget_bytes = 256ull << 20;  ///< Of results under way or not yet taken.
  std::uint32_t budget_tickets = 4096;        ///< Submissions under way or not yet taken.
  /// HOST:PORT of nodes (`viva node`) that compute instead of this machine: the same bytes. What
  /// they have that dies is run again, on others while they are away.
  std::vector<std::string> nodes{};
  std::filesystem::path tls{}; ///< Folder of certificates (`viva certs`); empty: none.
  bool insecure = false;       ///< Nodes beyond this machine without certificates.
  /// Without any node for so long the pipeline gives up: all its work fails, and it takes no more.
  /// 0: it waits.
  std::uint32_t node_timeout_seconds = 60;
};

struct submit_options {
  std::string name = "tensor"; ///< In errors.
  urgency how_urgent = urgency::normal;
  deadline until = no_deadline; ///< Then the answer is errc::timed_out.
  /// While the budget is full. `block` waits for answers that others take: a thread that first
  /// submits everything and then takes must not submit more than the budget holds.
  on_full when_full = on_full::block;
};

namespace actors {
class pipeline_house;
struct pipeline_floor;
} // namespace actors

class pipeline {
public:
  /// Starts the lanes. Where that fails (no threads, no memory, no node within 10 s), every call
  /// answers the error.
  explicit pipeline(pipeline_options options = {});
  /// Work not yet begun fails with errc::interrupted; waits for what runs.
  ~pipeline();
  pipeline(const pipeline&) = delete;
  pipeline& operator=(const pipeline&) = delete;

  /// Errors: unknown_method, bad_option, bad_shape, not_finite, over_budget, timed_out,
  /// interrupted, job_failed (it killed three lanes).
  future<expected<encoded>> quantize(const tensor_view&, const method_words&,
                                     submit_options options = {});
  /// 2:4 pruning: `sparse24` and its relatives; other methods are `unsupported`.
  future<expected<encoded>> prune(const tensor_view&, const method_words& how = sparse24{},
                                  submit_options options = {});

  /// Resident: cut into shards that lanes hold. The view must stay until `release_source`, because
  /// shards of a lane that dies are made again from it. A file's values are read from `offset` on,
  /// again where needed, as long as the file is what it was now. Errors: bad_shape, unreadable,
  /// over_budget, interrupted.
  future<expected<tensor_id>> put(std::string name, const tensor_view&, submit_options = {});
  future<expected<tensor_id>> put(std::string name, const file_values&, submit_options = {});
  /// The result is resident too, until it is fetched and dropped; its lineage is the parent.
  future<expected<tensor_id>> quantize(tensor_id, const method_words&, submit_options = {});
  /// An encoded tensor, brought together. Errors: bad_option (no such tensor), unsupported (it is
  /// not encoded), fault (a lane died that held it, and its source was released), unreadable (or
  /// its file is another by now).
  future<expected<encoded>> fetch(tensor_id, submit_options = {});
  /// The caller's bytes may go after this returns: of what was put, by its id or that of anything
  /// made from it, dropped or not. Once a lane dies, what it held stays lost.
  void release_source(tensor_id);
  /// Its shards go, and what they held of the budget. What was made from it stays.
  void drop(tensor_id);

  /// Exact attention over q, k and v where they lie. Long keys are cut into ranges for different
  /// lanes and merged in their order: bytes depend on shape and instruction set, not on lanes.
  /// Errors: bad_shape, unsupported, over_budget, timed_out, interrupted, job_failed, malformed.
  future<expected<attended>> attention(const attention_view&, submit_options options = {});
  /// The same over three tensors of one sequence, as `attention_options` has them:
  ///   pipe.attention(q, k, v, {.heads = 8, .kv_heads = 2, .causal = true})
  future<expected<attended>> attention(const tensor_view& q, const tensor_view& k,
                                       const tensor_view& v, const attention_options& = {},
                                       submit_options options = {});
  /// The same over resident k and v, which may be quantized and are decoded as they are met: the
  /// queries travel to the shards, each lane computes the range of keys that it holds, and ranges
  /// are merged in their order. Errors besides: bad_option (no such tensor), fault as `fetch`.
  future<expected<attended>> attention(const resident_attention&, submit_options options = {});

  /// A range of tensor_views or of contiguous floats, which must stay where it is while the stream
  /// lives. An unknown method or a closed pipeline is the error of every tensor.
  template <std::ranges::input_range Range>
  tensor_stream stream(Range& tensors, const method_words& how, stream_options options = {}) {
    return stream_from(source_of(tensors), how, options);
  }
  tensor_stream stream_from(tensor_source, const method_words&, stream_options options = {});

  /// Memory that lanes which are processes see, too: zeros, at an address of a page. Errors:
  /// over_budget (the system has no more).
  expected<shared_bytes> share(std::uint64_t bytes);

  /// Lets lanes that are processes read a file where it lies on the disk, without a copy: views
  /// into `mapped`, which is all of it, mapped by the caller. Map and answer must outlive the work
  /// on such views. With other lanes nothing needs to be done, and nothing is. A file that changes
  /// meanwhile is the caller's to notice; one that is cut short ends the lanes that read behind its
  /// end, and after the third the work fails with job_failed. Errors: unreadable.
  expected<lent_file> lend(const std::filesystem::path& file, std::span<const std::byte> mapped);

  /// What lanes did and what waits, as the collector has it. Lanes tell it their totals a thousand
  /// times a second at most, and before anybody can know that the last of what they had is done.
  snapshot metrics() const;
  std::uint32_t lanes() const noexcept;

  /// For tests and benchmarks: lane `lane % lanes()` throws in the midst of its next unit.
  void kill_lane(std::uint32_t lane);
  /// The same for the collector; what lanes did is still all there afterwards, once.
  void kill_collector();

private:
  std::shared_ptr<actors::pipeline_floor> x_floor;
  std::unique_ptr<actors::pipeline_house> x_house; // null where it could not be built
};

} // namespace viva
