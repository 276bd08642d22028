#include "tests/faults/checker.hpp"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace viva::faults {
namespace {

// A reader of little-endian fields that stops at the first that is not there.
struct reader {
  const unsigned char* at;
  const unsigned char* end;
  bool good = true;

  explicit reader(std::string_view bytes)
      : at(reinterpret_cast<const unsigned char*>(bytes.data())), end(at + bytes.size()) {
  }
  std::uint64_t number(int width) {
    if (end - at < width) {
      good = false;
      return 0;
    }
    std::uint64_t value = 0;
    for (int i = width; i-- > 0;)
      value = value << 8 | at[i];
    at += width;
    return value;
  }
  std::string_view text() {
    const auto bytes = static_cast<std::ptrdiff_t>(number(4));
    if (!good || end - at < bytes) {
      good = false;
      return {};
    }
    const std::string_view found(reinterpret_cast<const char*>(at),
                                 static_cast<std::size_t>(bytes));
    at += bytes;
    return found;
  }
  bool more() const {
    return good && at < end;
  }
};

constexpr std::size_t file_head = 8, frame_head = 28;

struct raw_frame {
  std::uint64_t seq = 0, life = 0;
  std::string_view payload;
};

bool read_frame(std::string_view rest, raw_frame& out) {
  if (rest.size() < frame_head || std::memcmp(rest.data(), "FRAM", 4) != 0)
    return false;
  reader in(rest.substr(4));
  const auto bytes = in.number(4);
  out.seq = in.number(8);
  out.life = in.number(4);
  const auto check = in.number(8);
  if (rest.size() - frame_head < bytes)
    return false;
  out.payload = rest.substr(frame_head, bytes);
  const XXH64_hash_t parts[] = {XXH3_64bits(rest.data() + 4, 16),
                                XXH3_64bits(out.payload.data(), out.payload.size())};
  return XXH3_64bits(parts, sizeof parts) == check;
}

bool frame_follows(std::string_view rest) {
  raw_frame ignored;
  for (std::size_t at = 1; at + frame_head <= rest.size(); ++at)
    if (read_frame(rest.substr(at), ignored))
      return true;
  return false;
}

class replay {
public:
  replay(journal_findings& into, std::uint32_t strikes_max)
      : x_into(into), x_strikes_max(strikes_max) {
  }
  bool take_frame(std::uint64_t life, std::string_view payload) {
    if (std::exchange(x_life, life) != life) {
      x_dead.clear();
      x_into.ended.clear();
    }
    reader in(payload);
    while (in.more()) {
      const auto kind = in.number(1);
      const auto body = in.text();
      if (!in.good || !take(kind, body))
        return false;
    }
    return in.good;
  }

private:
  bool take(std::uint64_t kind, std::string_view body) {
    reader in(body);
    if (kind == 1) {
      while (in.more()) {
        const auto key = in.text(), value = in.text();
        x_into.fingerprint[std::string(key)] = value;
      }
      return in.good;
    }
    if (!x_into.ended.empty())
      x_into.broken.push_back("a life writes on behind its end");
    if (kind == 7) {
      x_into.ended = in.text();
      in.text();
      return in.good && in.at == in.end && !x_into.ended.empty();
    }
    if (kind == 6) {
      in.number(8), in.number(8), in.number(1);
      named();
      return in.good && in.at == in.end;
    }
    const auto shard = static_cast<std::uint32_t>(in.number(4));
    if (kind == 2)
      done(shard, in);
    else if (kind == 3)
      struck(shard, in);
    else if (kind == 4)
      quarantined(shard, in);
    else if (kind == 5)
      pardoned(shard);
    else
      return false;
    return in.good && in.at == in.end;
  }
  void done(std::uint32_t shard, reader& in) {
    const auto run = in.number(4), checksum = in.number(8);
    in.text();
    if (!x_into.done.emplace(shard, checksum).second)
      accuse(shard, "is done twice");
    if (x_into.quarantined.contains(shard))
      accuse(shard, "is done in quarantine");
    if (run == 0)
      accuse(shard, "is done by no run");
    if (x_dead.contains({shard, run}))
      accuse(shard, "is done by a run that died");
    forget(shard);
  }
  void struck(std::uint32_t shard, reader& in) {
    const auto run = in.number(4);
    auto& deaths = x_into.strikes[shard];
    deaths.emplace_back(in.text());
    x_into.ever_struck.insert(shard);
    if (x_into.done.contains(shard))
      accuse(shard, "is struck and done");
    if (run == 0 || !x_dead.insert({shard, run}).second)
      accuse(shard, "is struck by a run that was none, or had died");
    if (x_strikes_max != 0 && deaths.size() > x_strikes_max + 1)
      accuse(shard, "has more strikes than lead into quarantine");
  }
  void quarantined(std::uint32_t shard, reader& in) {
    in.number(8);
    in.text();
    std::vector<std::string> reasons;
    while (in.more())
      reasons.emplace_back(in.text());
    x_into.quarantined.insert(shard);
    const auto& deaths = x_into.strikes[shard];
    if (x_into.done.contains(shard))
      accuse(shard, "is in quarantine and done");
    if (x_strikes_max != 0 && deaths.size() != x_strikes_max + 1)
      accuse(shard, "is in quarantine after " + std::to_string(deaths.size()) + " strikes");
    if (reasons.empty() || reasons.size() > deaths.size()
        || !std::equal(reasons.rbegin(), reasons.rend(), deaths.rbegin()))
      accuse(shard, "is in quarantine for other reasons than its strikes");
  }
  void pardoned(std::uint32_t shard) {
    forget(shard);
    x_into.done.erase(shard);
  }
  void accuse(std::uint32_t shard, const std::string& what) {
    x_into.broken.push_back("shard " + std::to_string(shard) + " " + what);
  }
  void named() {
    x_into.named = true;
    const auto all = x_into.fingerprint.find("shards");
    if (all != x_into.fingerprint.end() && all->second != std::to_string(x_into.done.size()))
      x_into.broken.push_back("the output gets its name with " + std::to_string(x_into.done.size())
                              + " of " + all->second + " shards done");
  }
  void forget(std::uint32_t shard) {
    x_into.strikes.erase(shard);
    x_into.quarantined.erase(shard);
  }
  journal_findings& x_into;
  std::uint32_t x_strikes_max;
  std::uint64_t x_life = 0;
  std::set<std::pair<std::uint32_t, std::uint64_t>> x_dead; ///< Shards and runs of this life.
};

} // namespace

journal_findings check_journal(std::string_view bytes, std::uint32_t strikes_max) {
  using state = journal_findings::state;
  journal_findings found;
  if (bytes.size() < file_head || bytes.substr(0, file_head) != "VIVAJRN4") {
    const bool begun = std::string_view("VIVAJRN4").starts_with(bytes);
    found.is = begun ? state::empty : state::damaged;
    return found;
  }
  replay records(found, strikes_max);
  found.good_bytes = file_head;
  while (found.good_bytes < bytes.size()) {
    const auto rest = bytes.substr(found.good_bytes);
    raw_frame frame;
    if (!read_frame(rest, frame)) {
      found.is = frame_follows(rest) ? state::damaged : state::torn;
      break;
    }
    if (frame.seq != found.frames || frame.life < found.lives
        || !records.take_frame(frame.life, frame.payload)) {
      found.is = state::damaged;
      return found;
    }
    ++found.frames;
    found.lives = static_cast<std::uint32_t>(frame.life);
    found.good_bytes += frame_head + frame.payload.size();
    found.is = state::whole;
  }
  if (found.frames == 0 && found.is != state::damaged)
    found.is = state::empty;
  return found;
}

} // namespace viva::faults
