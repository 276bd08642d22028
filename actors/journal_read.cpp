// Reading a journal: what holds of it now.

#include "actors/journal_bytes.hpp"
#include "actors/journal_file.hpp"

#include <algorithm>
#include <fstream>
#include <optional>

namespace viva::actors {

using namespace journal_bytes;

namespace {

constexpr std::size_t frame_bytes_max = 256u << 20;

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
  bool add(std::uint32_t life, std::string_view payload) {
    if (life != x_into.end.life)
      x_into.closing.reset(); // the life before ended so; this one goes on
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
    if (what == closing)
      return add_closing(body);
    std::uint32_t shard = 0;
    if (!take(body, shard))
      return false;
    switch (what) {
      case done:
        return add_done(shard, body);
      case strike:
        return add_strike(shard, body);
      case quarantine:
        return add_quarantine(shard, body);
      case pardon:
        forget(shard);
        x_done.erase(shard);
        return body.empty();
      default:
        return false;
    }
  }
  bool add_done(std::uint32_t shard, std::string_view body) {
    done_record record;
    record.shard = shard;
    if (!take(body, record.run) || !take(body, record.checksum) || !take(body, record.findings)
        || !body.empty())
      return false;
    forget(shard);
    x_done[shard] = std::move(record);
    return true;
  }
  bool add_strike(std::uint32_t shard, std::string_view body) {
    strike_record record;
    record.shard = shard;
    if (!take(body, record.run) || !take(body, record.reason) || !body.empty())
      return false;
    x_into.strikes.push_back(std::move(record));
    return true;
  }
  bool add_quarantine(std::uint32_t shard, std::string_view body) {
    quarantine_record record;
    record.shard = shard;
    if (!take(body, record.source_checksum) || !take(body, record.place))
      return false;
    while (!body.empty())
      if (!take(body, record.reasons.emplace_back()))
        return false;
    x_quarantined[shard] = std::move(record);
    return true;
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
  bool add_closing(std::string_view body) {
    auto& record = x_into.closing.emplace();
    return take(body, record.code) && take(body, record.words) && body.empty();
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
    if (!records.add(found->life, found->payload))
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

} // namespace viva::actors
