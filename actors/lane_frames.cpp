#include "actors/lane_frames.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <type_traits>

namespace viva::actors {
namespace {

constexpr std::size_t attached_bytes_max = 256u << 20;
constexpr std::uint32_t absent = ~0u;

class writer {
public:
  template <class T>
    requires std::is_arithmetic_v<T>
  void put(T value) {
    char raw[sizeof value];
    std::memcpy(raw, &value, sizeof value);
    x_out.append(raw, sizeof raw);
  }
  void put(const std::string& text) {
    put(static_cast<std::uint32_t>(text.size()));
    x_out += text;
  }
  void put(const searched::numbers& numbers) {
    put(numbers ? static_cast<std::uint32_t>(numbers->size()) : absent);
    if (numbers)
      x_out.append(reinterpret_cast<const char*>(numbers->data()),
                   numbers->size() * sizeof(float));
  }
  std::string done() {
    return std::move(x_out);
  }

private:
  std::string x_out;
};

class reader {
public:
  explicit reader(std::string_view in) : x_in(in) {
  }
  template <class T>
    requires std::is_arithmetic_v<T>
  void take(T& value) {
    if (const auto raw = bytes(sizeof value); raw.size() == sizeof value)
      std::memcpy(&value, raw.data(), sizeof value);
  }
  void take(std::string& text) {
    std::uint32_t size = 0;
    take(size);
    text = bytes(size);
  }
  void take(searched::numbers& numbers) {
    std::uint32_t count = 0;
    take(count);
    if (count == absent)
      return;
    const auto raw = bytes(std::size_t{count} * sizeof(float));
    auto made = std::make_shared<std::vector<float>>(raw.size() / sizeof(float));
    std::memcpy(made->data(), raw.data(), raw.size());
    numbers = std::move(made);
  }
  /// A count of things of at least `each` bytes; more than can follow is an error, not memory.
  std::uint32_t count(std::size_t each) {
    std::uint32_t number = 0;
    take(number);
    x_good = x_good && number <= x_in.size() / each;
    return x_good ? number : 0;
  }
  void require(bool claim) {
    x_good = x_good && claim;
  }
  bool good() const {
    return x_good;
  }
  bool whole() const {
    return x_good && x_in.empty();
  }

private:
  std::string_view bytes(std::size_t count) {
    x_good = x_good && count <= x_in.size();
    const auto taken = x_in.substr(0, x_good ? count : 0);
    x_in.remove_prefix(taken.size());
    return taken;
  }
  std::string_view x_in;
  bool x_good = true;
};

expected<supervision::frame> no_memory(const char* doing) {
  return fail(errc::fault, std::string("a message to a lane: ") + doing + ": "
                             + std::strerror(errno));
}

} // namespace

expected<supervision::frame> pack(std::uint16_t kind, std::string bytes) {
  if (bytes.size() <= supervision::frame_payload_max)
    return supervision::frame{kind, std::move(bytes), {}};
  auto file = std::make_shared<supervision::descriptor>(
    ::memfd_create("viva-message", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!*file)
    return no_memory("no memory file");
  for (std::size_t at = 0; at < bytes.size();) {
    const auto put = ::write(file->get(), bytes.data() + at, bytes.size() - at);
    if (put < 0 && errno != EINTR)
      return no_memory("memory file not written");
    at += put < 0 ? 0 : static_cast<std::size_t>(put);
  }
  ::fcntl(file->get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
  return supervision::frame{kind, {}, std::move(file)};
}

expected<std::string> unpack(const supervision::frame& what) {
  if (!what.attached)
    return what.payload;
  const auto bad = [] { return fail(errc::fault, "a message of a lane whose file is no message"); };
  struct stat info {};
  if (::fstat(what.attached->get(), &info) != 0 || !S_ISREG(info.st_mode) || info.st_size <= 0
      || static_cast<std::size_t>(info.st_size) > attached_bytes_max)
    return bad();
  std::string bytes(static_cast<std::size_t>(info.st_size), '\0');
  for (std::size_t at = 0; at < bytes.size();) {
    const auto got = ::pread(what.attached->get(), bytes.data() + at, bytes.size() - at,
                             static_cast<off_t>(at));
    if (got == 0 || (got < 0 && errno != EINTR))
      return bad();
    at += got < 0 ? 0 : static_cast<std::size_t>(got);
  }
  return bytes;
}

std::string encode(const work_order& order) {
  writer out;
  out.put(order.number);
  out.put(static_cast<std::uint32_t>(order.tasks.size()));
  for (const auto& [task, fault] : order.tasks) {
    out.put(task.id.shard);
    out.put(task.id.run);
    for (const float number : task.numbers.values)
      out.put(std::bit_cast<std::uint32_t>(number));
    out.put(task.by.columns);
    out.put(task.by.rows);
    out.put(static_cast<std::uint8_t>(fault));
  }
  return out.done();
}

std::optional<work_order> decode_order(std::string_view bytes) {
  reader in{bytes};
  work_order order;
  in.take(order.number);
  for (auto left = in.count(25); left > 0 && in.good(); --left) {
    auto& [task, fault] = order.tasks.emplace_back();
    in.take(task.id.shard);
    in.take(task.id.run);
    for (float& number : task.numbers.values) {
      std::uint32_t bits = 0;
      in.take(bits);
      number = std::bit_cast<float>(bits);
    }
    in.take(task.by.columns);
    in.take(task.by.rows);
    std::uint8_t kind = 0;
    in.take(kind);
    in.require(kind <= static_cast<std::uint8_t>(lane_fault::exit));
    fault = static_cast<lane_fault>(kind);
  }
  return in.whole() ? std::optional(std::move(order)) : std::nullopt;
}

std::string encode(const work_receipts& all) {
  writer out;
  out.put(all.number);
  out.put(all.peak_rss);
  out.put(static_cast<std::uint32_t>(all.shards.size()));
  for (const auto& [receipt, took] : all.shards) {
    out.put(receipt.id.shard);
    out.put(receipt.id.run);
    out.put(receipt.checksum);
    out.put(static_cast<std::uint64_t>(took.count()));
    out.put(static_cast<std::uint8_t>(receipt.problem.code));
    out.put(receipt.problem.text);
    out.put(receipt.findings);
  }
  return out.done();
}

std::optional<work_receipts> decode_receipts(std::string_view bytes) {
  reader in{bytes};
  work_receipts all;
  in.take(all.number);
  in.take(all.peak_rss);
  in.require(all.peak_rss <= std::uint64_t{1} << 56);
  for (auto left = in.count(33); left > 0 && in.good(); --left) {
    auto& [receipt, took] = all.shards.emplace_back();
    in.take(receipt.id.shard);
    in.take(receipt.id.run);
    in.take(receipt.checksum);
    std::uint64_t ns = 0;
    in.take(ns);
    in.require(ns <= std::uint64_t{1} << 60);
    took = std::chrono::nanoseconds{ns};
    std::uint8_t code = 0;
    in.take(code);
    in.require(code <= static_cast<std::uint8_t>(errc::interrupted));
    receipt.problem.code = static_cast<errc>(code);
    in.take(receipt.problem.text);
    in.take(receipt.findings);
  }
  return in.whole() ? std::optional(std::move(all)) : std::nullopt;
}

} // namespace viva::actors
