#include "actors/journal_file.hpp"

#include <xxhash.h>

#include <algorithm>
#include <fstream>
#include <optional>

namespace viva::actors {
namespace {

constexpr std::string_view magic = "VIVAJRN2";
constexpr std::string_view magic_of_any = "VIVAJRN";
constexpr std::string_view frame_magic = "FRAM";
constexpr std::size_t head_bytes = 4 + 4 + 8 + 4 + 8;
constexpr std::size_t check_at = 4 + 4 + 8 + 4;
constexpr std::size_t frame_bytes_max = 256u << 20;
constexpr std::size_t frame_bytes_wanted = 16u << 20; // a group that is larger takes several
enum kind : std::uint8_t {
  opening = 1, done = 2, strike = 3, quarantine = 4, pardon = 5, naming = 6
};

template <class T>
void put(std::string& out, T v) {
  for (std::size_t i = 0; i < sizeof(T); ++i)
    out.push_back(static_cast<char>(v >> (8 * i) & 255));
}

void put(std::string& out, const std::string& text) {
  put(out, static_cast<std::uint32_t>(text.size()));
  out += text;
}

template <class T>
bool take(std::string_view& in, T& v) {
  if (in.size() < sizeof(T))
    return false;
  v = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i)
    v |= static_cast<T>(T{static_cast<std::uint8_t>(in[i])} << (8 * i));
  in.remove_prefix(sizeof(T));
  return true;
}

bool take(std::string_view& in, std::string& text) {
  std::uint32_t bytes = 0;
  if (!take(in, bytes) || in.size() < bytes)
    return false;
  text = in.substr(0, bytes);
  in.remove_prefix(bytes);
  return true;
}

std::uint64_t check_of(std::string_view head, std::string_view payload) {
  const std::uint64_t both[2] = {XXH3_64bits(head.data(), head.size()),
                                 XXH3_64bits(payload.data(), payload.size())};
  return XXH3_64bits(both, sizeof both);
}

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
      if constexpr (!std::is_same_v<type, naming_record>)
        put(body, r.shard);
      if constexpr (std::is_same_v<type, done_record>) {
        what = done;
        put(body, r.checksum);
        put(body, r.findings);
      } else if constexpr (std::is_same_v<type, strike_record>) {
        what = strike;
        put(body, r.reason);
      } else if constexpr (std::is_same_v<type, quarantine_record>) {
        what = quarantine;
        put(body, r.place);
      } else if constexpr (std::is_same_v<type, naming_record>) {
        what = naming;
        put(body, r.device);
        put(body, r.inode);
        put(body, std::uint8_t{r.replaces});
      }
      put(out, static_cast<std::uint8_t>(what));
    },
    record);
  put(out, body);
  return out;
}

struct frame {
  std::uint64_t seq = 0;
  std::uint32_t life = 0;
  std::string_view payload;
};

/// The frame at the beginning of `rest`; none where it is torn or damaged.
std::optional<frame> frame_at(std::string_view rest) {
  if (rest.size() < head_bytes || !rest.starts_with(frame_magic))
    return std::nullopt;
  const auto head = rest.substr(frame_magic.size(), check_at - frame_magic.size());
  auto fields = rest.substr(frame_magic.size());
  std::uint32_t bytes = 0;
  std::uint64_t check = 0;
  frame found;
  if (!take(fields, bytes) || !take(fields, found.seq) || !take(fields, found.life)
      || !take(fields, check) || bytes > frame_bytes_max || bytes > fields.size())
    return std::nullopt;
  found.payload = fields.substr(0, bytes);
  if (check_of(head, found.payload) != check)
    return std::nullopt;
  return found;
}

/// True where a whole frame stands anywhere in `rest`.
bool holds_frame(std::string_view rest) {
  for (auto at = rest.find(frame_magic); at != std::string_view::npos;
       at = rest.find(frame_magic, at + 1))
    if (frame_at(rest.substr(at)))
      return true;
  return false;
}

/// Records of a journal, folded in order: what holds now.
class folded {
public:
  explicit folded(journal_content& into) : x_into(into) {
  }
  /// False where the inside of a frame makes no sense.
  bool add(std::string_view payload) {
    while (!payload.empty()) {
      std::uint8_t what = 0;
      std::string body;
      if (!take(payload, what) || !take(payload, body) || !add(what, body))
        return false;
    }
    return true;
  }
  void finish() {
    for (auto& [shard, record] : x_done)
      x_into.done.push_back(std::move(record));
    for (auto& [shard, record] : x_quarantined)
      x_into.quarantined.push_back(std::move(record));
  }

private:
  bool add(std::uint8_t what, std::string_view body) {
    if (what == opening)
      return add_opening(body);
    if (what == naming)
      return add_naming(body);
    std::uint32_t shard = 0;
    std::uint64_t checksum = 0;
    std::string text;
    if (!take(body, shard) || (what == done && !take(body, checksum))
        || (what != pardon && !take(body, text)) || !body.empty())
      return false;
    switch (what) {
      case done:
        forget(shard);
        x_done[shard] = {shard, checksum, std::move(text)};
        return true;
      case strike:
        x_into.strikes.push_back({shard, std::move(text)});
        return true;
      case quarantine:
        x_quarantined[shard] = {shard, std::move(text)};
        return true;
      case pardon:
        forget(shard);
        x_done.erase(shard);
        return true;
      default:
        return false;
    }
  }
  bool add_opening(std::string_view body) {
    std::string key, value;
    while (!body.empty()) {
      if (!take(body, key) || !take(body, value))
        return false;
      x_into.fingerprint[key] = value;
    }
    return true;
  }
  bool add_naming(std::string_view body) {
    naming_record record;
    std::uint8_t replaces = 0;
    if (!take(body, record.device) || !take(body, record.inode) || !take(body, replaces)
        || replaces > 1 || !body.empty())
      return false;
    record.replaces = replaces == 1;
    x_into.naming = record;
    return true;
  }
  void forget(std::uint32_t shard) {
    std::erase_if(x_into.strikes, [&](const strike_record& r) { return r.shard == shard; });
    x_quarantined.erase(shard);
  }

  journal_content& x_into;
  std::map<std::uint32_t, done_record> x_done;
  std::map<std::uint32_t, quarantine_record> x_quarantined;
};

tl::unexpected<error> damaged(const std::string& name, std::size_t at, const std::string& how) {
  return fail(errc::malformed, name + ": the frame at byte " + std::to_string(at) + " " + how
                                 + "; say --overwrite, or remove the journal and the .partial "
                                   "output, to start anew");
}

} // namespace

bool is_journal(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::string head(magic_of_any.size(), '\0');
  in.read(head.data(), static_cast<std::streamsize>(head.size()));
  head.resize(static_cast<std::size_t>(in.gcount()));
  return magic_of_any.starts_with(head);
}

expected<journal_content> parse_journal(std::string_view bytes, const std::string& name) {
  journal_content content;
  if (bytes.size() < magic.size() && magic.starts_with(bytes))
    return content;
  if (!bytes.starts_with(magic_of_any))
    return fail(errc::malformed, name + ": is no journal of viva; move it away");
  if (!bytes.starts_with(magic))
    return fail(errc::malformed, name
                                   + ": was written by another version of viva; finish the job "
                                     "with that one, or remove the journal and the .partial "
                                     "output to start anew");
  folded records(content);
  std::size_t at = magic.size();
  while (at < bytes.size()) {
    const auto rest = bytes.substr(at);
    const auto found = frame_at(rest);
    if (!found) {
      if (!holds_frame(rest.substr(1)))
        break; // torn: it was never written whole
      return damaged(name, at, "is damaged and others follow it");
    }
    if (found->seq != content.end.seq || found->life < content.end.life)
      return damaged(name, at, "is out of sequence");
    if (!records.add(found->payload))
      return damaged(name, at, "is whole and makes no sense");
    at += head_bytes + found->payload.size();
    content.end = {at, found->seq + 1, found->life};
  }
  records.finish();
  return content; // without a whole opening: as if it were new, nothing was ever durable
}

expected<journal_content> read_journal(disk& on, const std::filesystem::path& file) {
  auto opened = on.open(file, disk::mode::read);
  if (!opened)
    return tl::unexpected(opened.error());
  const auto size = (*opened)->size();
  if (!size)
    return tl::unexpected(size.error());
  std::string bytes(*size, '\0');
  if (auto read = (*opened)->read(0, std::as_writable_bytes(std::span(bytes))); !read)
    return tl::unexpected(read.error());
  return parse_journal(bytes, file.string());
}

std::string difference(const fingerprint_map& journal, const fingerprint_map& asked) {
  for (const auto& [key, value] : asked) {
    const auto other = journal.find(key);
    if (other == journal.end())
      return key + " is new";
    if (other->second != value)
      return key + ": the journal has '" + other->second + "', now asked '" + value + "'";
  }
  for (const auto& [key, value] : journal)
    if (!asked.contains(key))
      return key + " is gone";
  return {};
}

expected<journal_file> journal_file::open(disk& on, const std::filesystem::path& file,
                                          const fingerprint_map& fingerprint, journal_end end) {
  auto opened = on.open(file, disk::mode::write_or_create);
  if (!opened)
    return tl::unexpected(opened.error());
  journal_file result;
  result.x_file = std::move(*opened);
  result.x_name = file.string();
  result.x_end = end;
  ++result.x_end.life;
  if (auto cut = result.x_file->resize(end.bytes); !cut)
    return tl::unexpected(cut.error());
  if (end.bytes > 0) {
    if (auto kept = result.rewrite(); !kept)
      return tl::unexpected(kept.error());
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

expected<void> journal_file::append(const std::vector<journal_record>& records) {
  expected<void> result;
  for (auto record = records.begin(); record != records.end();) {
    std::string payload;
    for (; record != records.end() && payload.size() < frame_bytes_wanted; ++record)
      payload += encoded(*record);
    auto written = write_frame(payload);
    if (!written && !sound())
      return written;
    if (!written)
      result = std::move(written);
  }
  return result;
}

expected<void> journal_file::write_frame(const std::string& payload) {
  if (!sound())
    return tl::unexpected(x_condemned);
  const auto bytes = framed(payload, x_end);
  const auto end = x_end.bytes + bytes.size();
  expected<void> room;
  if (end + reserve_bytes / 2 > x_reserved) {
    room = x_file->reserve(end + reserve_bytes);
    if (room)
      x_reserved = end + reserve_bytes;
  }
  auto done = x_file->write(x_end.bytes, std::as_bytes(std::span(bytes)));
  if (done)
    done = x_file->sync();
  if (!done) {
    condemn(done.error());
    return done;
  }
  ++x_end.seq;
  x_end.bytes = end;
  return room;
}

} // namespace viva::actors
