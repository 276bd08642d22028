#include "actors/lane_frames.hpp"

#include "actors/frame_bytes.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>

namespace viva::actors {
namespace {

constexpr std::size_t attached_bytes_max = 256u << 20;
constexpr std::uint32_t absent = ~0u;

class writer : public frame_writer {
public:
  using frame_writer::put;
  void put(const searched::numbers& numbers) {
    put(numbers ? static_cast<std::uint32_t>(numbers->size()) : absent);
    if (numbers)
      put_raw(numbers->data(), numbers->size() * sizeof(float));
  }
};

class reader : public frame_reader {
public:
  using frame_reader::frame_reader;
  using frame_reader::take;
  void take(searched::numbers& numbers) {
    std::uint32_t count = 0;
    take(count);
    if (count == absent)
      return;
    const auto raw = bytes(std::size_t{count} * sizeof(float));
    auto made = std::make_shared<std::vector<float>>(raw.size() / sizeof(float));
    if (!raw.empty()) // memcpy takes no null
      std::memcpy(made->data(), raw.data(), raw.size());
    numbers = std::move(made);
  }
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
    out.put(static_cast<std::uint8_t>(task.device));
    out.put(static_cast<std::uint8_t>(fault));
  }
  return out.done();
}

std::optional<work_order> decode_order(std::string_view bytes) {
  reader in{bytes};
  work_order order;
  in.take(order.number);
  for (auto left = in.count(26); left > 0 && in.good(); --left) {
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
    std::uint8_t device = 0, kind = 0;
    in.take(device);
    in.take(kind);
    in.require(device <= 1 && kind <= static_cast<std::uint8_t>(lane_fault::no_memory)); // the last
    task.device = device == 1;
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
    out.put(receipt.problem);
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
    in.take(receipt.problem);
    in.take(receipt.findings);
  }
  return in.whole() ? std::optional(std::move(all)) : std::nullopt;
}

} // namespace viva::actors
