#include "actors/node/letters.hpp"

#include "actors/frame_bytes.hpp"
#include "actors/known_answer.hpp"

#include <algorithm>
#include <iterator>
#include <random>

namespace viva::actors::node {
namespace {

constexpr std::uint32_t magic = 0x564E4F44; // "DONV", and so the order of bytes
constexpr std::uint16_t letters_version = 5;

/// Those of a job's faults that its lanes have, wherever they are.
constexpr std::uint32_t fault_plan::*lane_faults[]
  = {&fault_plan::throw_every, &fault_plan::poison, &fault_plan::crash_at,   &fault_plan::abort_at,
     &fault_plan::hang_at,     &fault_plan::oom_at, &fault_plan::garbage_at, &fault_plan::exit_at,
     &fault_plan::sticky_at,   &fault_plan::no_memory_at};

template <class T>
std::optional<T> whole(const frame_reader& in, T made) {
  return in.whole() ? std::optional(std::move(made)) : std::nullopt;
}

bool take_flag(frame_reader& in) {
  std::uint8_t flag = 0;
  in.take(flag);
  in.require(flag <= 1);
  return flag == 1;
}

manifest take_manifest(frame_reader& in) {
  manifest made;
  for (auto left = in.count(13); left > 0 && in.good(); --left) {
    auto& file = made.files.emplace_back();
    in.take(file.name);
    in.take(file.bytes);
    file.written = take_flag(in);
  }
  for (auto left = in.count(20); left > 0 && in.good(); --left) {
    auto& seed = made.seeds.emplace_back();
    in.take(seed.file);
    in.take(seed.offset);
    in.take(seed.bytes);
    in.require(seed.file < made.files.size() && seed.offset <= made.files[seed.file].bytes
               && seed.bytes <= made.files[seed.file].bytes - seed.offset);
  }
  return made;
}

} // namespace

std::string encode(const letter& l) {
  frame_writer out;
  out.put(magic);
  out.put(letters_version);
  out.put(static_cast<std::uint8_t>(l.what));
  out.put(l.of.epoch);
  out.put(l.of.incarnation);
  out.put(l.of.join);
  out.put_raw(l.body.data(), l.body.size());
  return out.done();
}

std::optional<letter> decode_letter(std::string_view bytes) {
  constexpr std::size_t head_bytes = 4 + 2 + 1 + 3 * 8;
  frame_reader in{bytes.substr(0, head_bytes)};
  std::uint32_t begins = 0;
  std::uint16_t version = 0;
  std::uint8_t what = 0;
  letter made;
  in.take(begins);
  in.take(version);
  in.take(what);
  in.take(made.of.epoch);
  in.take(made.of.incarnation);
  in.take(made.of.join);
  in.require(begins == magic && version == letters_version && what >= 1
             && what <= static_cast<std::uint8_t>(word::frame));
  if (!in.whole())
    return std::nullopt;
  made.what = static_cast<word>(what);
  made.body = bytes.substr(head_bytes);
  return made;
}

std::string encode(const hello& h) {
  frame_writer out;
  out.put(h.build);
  out.put(static_cast<std::uint8_t>(h.wants));
  return out.done();
}

std::optional<hello> decode_hello(std::string_view bytes) {
  frame_reader in{bytes};
  hello made;
  in.take(made.build);
  std::uint8_t wants = 0;
  in.take(wants);
  in.require(wants <= static_cast<std::uint8_t>(hello::wish::lane));
  made.wants = static_cast<hello::wish>(wants);
  return whole(in, std::move(made));
}

std::string encode(const welcome& w) {
  frame_writer out;
  out.put(w.problem);
  out.put(w.build);
  out.put(w.host);
  for (const auto number : {w.pid, w.lanes, w.jobs})
    out.put(number);
  for (const auto number : {w.restarts, w.shards, w.up_ms, w.strangers, w.garbage, w.fenced})
    out.put(number);
  return out.done();
}

std::optional<welcome> decode_welcome(std::string_view bytes) {
  frame_reader in{bytes};
  welcome made;
  in.take(made.problem);
  in.take(made.build);
  in.take(made.host);
  for (auto* number : {&made.pid, &made.lanes, &made.jobs})
    in.take(*number);
  for (auto* number : {&made.restarts, &made.shards, &made.up_ms, &made.strangers, &made.garbage,
                       &made.fenced})
    in.take(*number);
  return whole(in, std::move(made));
}

std::string encode(const assign& a) {
  frame_writer out;
  out.put(a.assignment);
  for (const auto which : lane_faults)
    out.put(a.faults.*which);
  out.put(static_cast<std::uint8_t>(a.files.has_value()));
  if (!a.files)
    return out.done();
  out.put(static_cast<std::uint32_t>(a.files->files.size()));
  for (const auto& file : a.files->files) {
    out.put(file.name);
    out.put(file.bytes);
    out.put(static_cast<std::uint8_t>(file.written));
  }
  out.put(static_cast<std::uint32_t>(a.files->seeds.size()));
  for (const auto& [file, offset, bytes] : a.files->seeds) {
    out.put(file);
    out.put(offset);
    out.put(bytes);
  }
  return out.done();
}

bool has_lane_faults(const fault_plan& of) {
  return std::any_of(std::begin(lane_faults), std::end(lane_faults),
                     [&](const auto which) { return of.*which != 0; });
}

std::optional<assign> decode_assign(std::string_view bytes) {
  frame_reader in{bytes};
  assign made;
  in.take(made.assignment);
  for (const auto which : lane_faults)
    in.take(made.faults.*which);
  if (take_flag(in))
    made.files = take_manifest(in);
  return whole(in, std::move(made));
}

std::string encode(const error& what) {
  frame_writer out;
  out.put(what);
  return out.done();
}

std::optional<error> decode_error(std::string_view bytes) {
  frame_reader in{bytes};
  error made;
  in.take(made);
  return whole(in, std::move(made));
}

std::string encode(const lane_news& n) {
  frame_writer out;
  out.put(n.lane);
  out.put(n.life);
  out.put(n.fault);
  out.put(n.mark);
  out.put(n.text);
  return out.done();
}

std::optional<lane_news> decode_lane_news(std::string_view bytes) {
  frame_reader in{bytes};
  lane_news made;
  in.take(made.lane);
  in.take(made.life);
  in.take(made.fault);
  in.take(made.mark);
  in.take(made.text);
  return whole(in, std::move(made));
}

std::string encode(const parcel& p) {
  frame_writer out;
  out.put(p.lane);
  out.put(p.life);
  out.put(p.bytes);
  return out.done();
}

std::optional<parcel> decode_parcel(std::string_view bytes) {
  frame_reader in{bytes};
  parcel made;
  in.take(made.lane);
  in.take(made.life);
  in.take(made.bytes);
  return whole(in, std::move(made));
}

std::string encode(const turn& t) {
  frame_writer out;
  out.put(t.number);
  return out.done();
}

std::optional<turn> decode_turn(std::string_view bytes) {
  frame_reader in{bytes};
  turn made;
  in.take(made.number);
  return whole(in, made);
}

std::string encode(const loan& l) {
  frame_writer out;
  out.put(l.attention);
  return out.done();
}

std::optional<loan> decode_loan(std::string_view bytes) {
  frame_reader in{bytes};
  loan made;
  in.take(made.attention);
  return whole(in, std::move(made));
}

std::string encode(const passage& p) {
  frame_writer out;
  out.put(p.kind);
  out.put_raw(p.bytes.data(), p.bytes.size());
  return out.done();
}

std::optional<passage> decode_passage(std::string_view bytes) {
  if (bytes.size() < sizeof(passage::kind))
    return std::nullopt;
  frame_reader in{bytes.substr(0, sizeof(passage::kind))};
  passage made;
  in.take(made.kind);
  made.bytes = bytes.substr(sizeof made.kind);
  return made;
}

std::string build_words(kernels::path by) {
  return ready_words(by) + ", letters " + std::to_string(letters_version);
}

std::uint64_t own_incarnation() {
  static const auto made = [] {
    std::random_device entropy;
    return (std::uint64_t{entropy()} << 32 | entropy()) | 1;
  }();
  return made;
}

} // namespace viva::actors::node
