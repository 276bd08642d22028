#include "actors/pipeline/tensor_frames.hpp"

#include "actors/frame_bytes.hpp"

namespace viva::actors {

std::uint64_t tensor_run::source_bytes(dtype type) const noexcept {
  const auto line = cols * kernels::bytes_of(type);
  const auto step = row_bytes == 0 ? line : row_bytes;
  return rows == 0 || count == 0 ? 0 : (std::uint64_t{count} * rows - 1) * step + line;
}

std::optional<status> problem_of(const tensor_receipt& got, std::size_t steps) {
  if (got.problems.size() > 1 || !got.numbers.empty() || !got.errors.empty())
    return {};
  if (got.problems.empty())
    return status{};
  const auto& why = got.problems.front();
  return why.slot < steps ? std::optional(status{why.code, why.position}) : std::nullopt;
}

std::string encode(const region_note& what) {
  frame_writer out;
  out.put(what.id);
  out.put(what.bytes);
  out.put(static_cast<std::uint8_t>(what.stays));
  out.put(static_cast<std::uint8_t>(what.holes));
  return out.done();
}

std::optional<region_note> decode_region(std::string_view bytes) {
  frame_reader in{bytes};
  region_note what;
  in.take(what.id);
  in.take(what.bytes);
  for (auto* const word : {&what.stays, &what.holes}) {
    std::uint8_t said = 0;
    in.take(said);
    in.require(said <= 1);
    *word = said == 1;
  }
  return in.whole() ? std::optional(what) : std::nullopt;
}

namespace {

void put(frame_writer& out, const tensor_order& order) {
  out.put(order.number);
  out.put(order.method);
  out.put(static_cast<std::uint8_t>(order.type));
  out.put(order.slots);
  out.put(order.out);
  out.put(static_cast<std::uint8_t>(order.measure));
  out.put(static_cast<std::uint32_t>(order.runs.size()));
  for (const auto& run : order.runs) {
    out.put(run.region);
    for (const auto number : {run.offset, run.rows, run.cols, run.row_bytes, run.to})
      out.put(number);
    out.put(run.slot);
    out.put(run.count);
  }
  out.put(static_cast<std::uint32_t>(order.steps.size()));
  for (const auto& step : order.steps)
    put(out, step);
  out.put(static_cast<std::uint32_t>(order.attends.size()));
  for (const auto& step : order.attends)
    put(out, step);
}

void take(frame_reader& in, tensor_order& order) {
  in.take(order.number);
  in.take(order.method);
  std::uint8_t type = 0;
  in.take(type);
  in.require(type <= static_cast<std::uint8_t>(dtype::bf16));
  order.type = static_cast<dtype>(type);
  in.take(order.slots);
  in.require(order.slots <= slots_max);
  in.take(order.out);
  std::uint8_t measure = 0;
  in.take(measure);
  in.require(measure <= 1);
  order.measure = measure == 1;
  for (auto left = in.count(52); left > 0 && in.good(); --left) {
    auto& run = order.runs.emplace_back();
    in.take(run.region);
    for (auto* number : {&run.offset, &run.rows, &run.cols, &run.row_bytes, &run.to})
      in.take(*number);
    in.take(run.slot);
    in.take(run.count);
    in.require(run.slot <= order.slots && run.count <= order.slots - run.slot);
  }
  for (auto left = in.count(78); left > 0 && in.good(); --left)
    take(in, order.steps.emplace_back());
  for (auto left = in.count(457); left > 0 && in.good(); --left)
    take(in, order.attends.emplace_back());
  in.require(order.steps_count() == 0 || order.runs.empty());
}

void put(frame_writer& out, const tensor_receipt& all) {
  out.put(all.number);
  out.put(all.took_ns);
  out.put(all.peak_rss);
  out.put(static_cast<std::uint32_t>(all.problems.size()));
  for (const auto& each : all.problems) {
    out.put(each.slot);
    out.put(static_cast<std::uint8_t>(each.code));
    out.put(each.position);
  }
  out.put(static_cast<std::uint32_t>(all.numbers.size()));
  for (const auto& each : all.numbers)
    out.put_raw(each.values.data(), sizeof each.values);
  out.put(static_cast<std::uint32_t>(all.errors.size()));
  for (const auto& each : all.errors) {
    out.put(each.mse);
    out.put(each.snr_db);
    out.put(each.max_error);
  }
  out.put(static_cast<std::uint32_t>(all.seen.size()));
  for (const auto& each : all.seen)
    put(out, each);
}

void take(frame_reader& in, tensor_receipt& all) {
  in.take(all.number);
  in.take(all.took_ns);
  in.require(all.took_ns <= std::uint64_t{1} << 60);
  in.take(all.peak_rss);
  in.require(all.peak_rss <= std::uint64_t{1} << 56);
  for (auto left = in.count(13); left > 0 && in.good(); --left) {
    auto& each = all.problems.emplace_back();
    in.take(each.slot);
    std::uint8_t code = 0;
    in.take(code);
    in.require(code != 0 && code <= static_cast<std::uint8_t>(errc::interrupted));
    each.code = static_cast<errc>(code);
    in.take(each.position);
    in.require(all.problems.size() == 1 || (all.problems.end() - 2)->slot < each.slot);
  }
  for (auto left = in.count(sizeof(kernels::tensor_numbers)); left > 0 && in.good(); --left) {
    auto& each = all.numbers.emplace_back();
    const auto raw = in.bytes(sizeof each.values);
    if (raw.size() == sizeof each.values)
      std::memcpy(each.values.data(), raw.data(), raw.size());
  }
  for (auto left = in.count(20); left > 0 && in.good(); --left) {
    auto& each = all.errors.emplace_back();
    in.take(each.mse);
    in.take(each.snr_db);
    in.take(each.max_error);
  }
  for (auto left = in.count(180); left > 0 && in.good(); --left)
    take(in, all.seen.emplace_back());
}

template <class T>
std::string encode_all(const std::vector<T>& what) {
  frame_writer out;
  out.put(static_cast<std::uint32_t>(what.size()));
  for (const auto& each : what)
    put(out, each);
  return out.done();
}

/// Each takes at least `bytes_min`.
template <class T>
std::optional<std::vector<T>> decode_all(std::string_view bytes, std::size_t bytes_min) {
  frame_reader in{bytes};
  std::vector<T> all;
  for (auto left = in.count(bytes_min); left > 0 && in.good(); --left)
    take(in, all.emplace_back());
  in.require(!all.empty());
  return in.whole() ? std::optional(std::move(all)) : std::nullopt;
}

} // namespace

std::string encode(const std::vector<tensor_order>& orders) {
  return encode_all(orders);
}
std::string encode(const std::vector<tensor_receipt>& receipts) {
  return encode_all(receipts);
}
std::optional<std::vector<tensor_order>> decode_tensors(std::string_view bytes) {
  return decode_all<tensor_order>(bytes, 34);
}
std::optional<std::vector<tensor_receipt>> decode_encoded(std::string_view bytes) {
  return decode_all<tensor_receipt>(bytes, 40);
}

} // namespace viva::actors
