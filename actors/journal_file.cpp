#include "actors/journal_file.hpp"

#include "actors/journal_bytes.hpp"

#include <algorithm>

namespace viva::actors {

using namespace journal_bytes;

namespace {

std::string framed(const std::string& payload, const journal_end& end) {
  std::string out(frame_magic);
  put(out, static_cast<std::uint32_t>(payload.size()));
  put(out, end.seq);
  put(out, end.life);
  put(out, check_of(std::string_view(out).substr(frame_magic.size()), payload));
  return out + payload;
}

std::string encoded(const journal_record& record) {
  std::string out, body;
  std::visit(
    [&](const auto& r) {
      using type = std::decay_t<decltype(r)>;
      kind what = pardon;
      if constexpr (requires { r.shard; })
        put(body, r.shard);
      if constexpr (std::is_same_v<type, done_record>) {
        what = done;
        put(body, r.run);
        put(body, r.checksum);
        put(body, r.findings);
      } else if constexpr (std::is_same_v<type, strike_record>) {
        what = strike;
        put(body, r.run);
        put(body, r.reason);
      } else if constexpr (std::is_same_v<type, quarantine_record>) {
        what = quarantine;
        put(body, r.source_checksum);
        put(body, r.place);
        for (const auto& reason : r.reasons)
          put(body, reason);
      } else if constexpr (std::is_same_v<type, naming_record>) {
        what = naming;
        put(body, r.device);
        put(body, r.inode);
        put(body, std::uint8_t{r.replaces});
      } else if constexpr (std::is_same_v<type, closing_record>) {
        what = closing;
        put(body, r.code);
        put(body, r.words);
      }
      put(out, static_cast<std::uint8_t>(what));
    },
    record);
  put(out, body);
  return out;
}

bool is_done(const journal_record& record) {
  return std::holds_alternative<done_record>(record);
}

} // namespace

expected<journal_file> journal_file::open(disk& on, const std::filesystem::path& file,
                                          const fingerprint_map& fingerprint, journal_end end,
                                          journal_room room) {
  auto opened = on.open(file, disk::mode::write_or_create);
  if (!opened)
    return tl::unexpected(opened.error());
  journal_file result;
  result.x_file = std::move(*opened);
  result.x_name = file.string();
  result.x_end = end;
  ++result.x_end.life;
  result.x_room = room;
  if (auto cut = result.x_file->resize(end.bytes); !cut)
    return tl::unexpected(cut.error());
  if (end.bytes > 0) {
    if (auto kept = result.rewrite(); !kept)
      return tl::unexpected(kept.error());
    // Whoever appends is told of a full disk (an output that only lacks its name needs none); what
    // closes a story shall find what room there is.
    for (auto some = room.reserve_bytes; some > 0 && some >= room.closing_bytes; some /= 2)
      if (result.x_file->reserve(end.bytes + some)) {
        result.x_reserved = end.bytes + some;
        break;
      }
    return result;
  }
  if (auto begun = result.x_file->write(0, std::as_bytes(std::span(magic))); !begun)
    return tl::unexpected(begun.error());
  if (auto begun = result.x_file->sync(); !begun) // or a power cut may leave a frame without it
    return tl::unexpected(begun.error());
  result.x_end = {magic.size(), 0, 1};
  std::string body, payload;
  for (const auto& [key, value] : fingerprint) {
    put(body, key);
    put(body, value);
  }
  put(payload, static_cast<std::uint8_t>(opening));
  put(payload, body);
  expected<void> there;
  if (!result.make_room(payload.size(), true, there) || !there)
    return tl::unexpected(there.error());
  if (auto written = result.write_frame(payload); !written)
    return tl::unexpected(written.error());
  if (auto synced = on.sync_folder(file.parent_path()); !synced)
    return tl::unexpected(synced.error());
  return result;
}

// An earlier life may have ended on a sync that failed: what can be read here then need not be on
// the disk, although the system calls it clean. Written again it is dirty, and can be synced.
expected<void> journal_file::rewrite() {
  std::vector<std::byte> bytes(x_end.bytes);
  if (auto read = x_file->read(0, bytes); !read)
    return read;
  if (auto written = x_file->write(0, bytes); !written)
    return written;
  return x_file->sync();
}

// What closes a story comes first, in frames of its own: a job whose shards bring more than the
// disk has left must still know which of them killed lanes. Of one shard no strike follows a done.
expected<void> journal_file::append(const std::vector<journal_record>& records,
                                    std::vector<journal_record>* left_out) {
  if (!sound())
    return tl::unexpected(x_condemned);
  std::vector<const journal_record*> order;
  for (const auto& each : records)
    order.push_back(&each);
  std::ranges::stable_partition(order, [](const auto* each) { return !is_done(*each); });
  expected<void> result;
  for (auto next = order.begin(); next != order.end();) {
    const auto first = next;
    std::string payload = encoded(**next++);
    for (; next != order.end() && is_done(**next) == is_done(**first); ++next) {
      const auto more = encoded(**next);
      if (payload.size() + more.size() > x_room.frame_bytes_max)
        break;
      payload += more;
    }
    if (make_room(payload.size(), !is_done(**first), result)) {
      if (auto written = write_frame(payload); !written)
        return written;
    } else if (left_out != nullptr) {
      for (auto each = first; each != next; ++each)
        left_out->push_back(**each);
    }
  }
  return result;
}

/// Blocks for a frame and the reserve behind it. Where they cannot be had `problem` says so, and
/// true means that the frame fits into what was reserved before.
bool journal_file::make_room(std::uint64_t payload_bytes, bool closing, expected<void>& problem) {
  const auto end = x_end.bytes + head_bytes + payload_bytes;
  if (problem && end + x_room.reserve_bytes / 2 > x_reserved) {
    problem = x_file->reserve(end + x_room.reserve_bytes);
    if (problem)
      x_reserved = end + x_room.reserve_bytes;
  }
  return problem || end + (closing ? 0 : x_room.closing_bytes) <= x_reserved;
}

expected<void> journal_file::write_frame(const std::string& payload) {
  const auto bytes = framed(payload, x_end);
  auto done = x_file->write(x_end.bytes, std::as_bytes(std::span(bytes)));
  if (done)
    done = x_file->sync();
  if (!done) {
    condemn(done.error());
    return done;
  }
  ++x_end.seq;
  x_end.bytes += bytes.size();
  return {};
}

} // namespace viva::actors
