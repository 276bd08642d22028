#include "actors/pipeline/shard_steps.hpp"

namespace viva::actors {

void put(frame_writer& out, const shard_step& step) {
  out.put(static_cast<std::uint8_t>(step.what));
  out.put(step.method);
  out.put(static_cast<std::uint8_t>(step.type));
  out.put(step.from);
  out.put(step.to);
  for (const auto number : {step.offset, step.rows, step.cols, step.row_bytes, step.first,
                            step.count, step.to_offset})
    out.put(number);
  for (const auto number : step.numbers.values)
    out.put(number);
}

void take(frame_reader& in, shard_step& step) {
  std::uint8_t what = 0, type = 0;
  in.take(what);
  in.take(step.method);
  in.take(type);
  in.require(what <= static_cast<std::uint8_t>(shard_step::kind::encode)
             && type <= static_cast<std::uint8_t>(kernels::dtype::bf16));
  step.what = static_cast<shard_step::kind>(what);
  step.type = static_cast<kernels::dtype>(type);
  in.take(step.from);
  in.take(step.to);
  for (auto* number : {&step.offset, &step.rows, &step.cols, &step.row_bytes, &step.first,
                       &step.count, &step.to_offset})
    in.take(*number);
  for (auto& number : step.numbers.values)
    in.take(number);
}

void put(frame_writer& out, const kernels::survey& seen) {
  out.put(seen.count);
  out.put(seen.max);
  for (const auto limb : seen.sum.canonical())
    out.put(limb);
}

void take(frame_reader& in, kernels::survey& seen) {
  in.take(seen.count);
  in.take(seen.max);
  std::array<std::int64_t, kernels::exact_sum::limb_count> limbs{};
  for (std::size_t i = 0; i < limbs.size(); ++i) {
    in.take(limbs[i]);
    in.require(i + 1 == limbs.size() || (limbs[i] >= 0 && limbs[i] >> 32 == 0));
  }
  seen.sum = kernels::exact_sum::from_canonical(limbs);
}

namespace {

using kernels::attention::strides;

// One list of members for both ways.
template <class Way, class Side>
void walk_side(Way& way, Side& side) {
  way(side.region, side.offset, side.type, side.bytes.sequence, side.bytes.head, side.bytes.row,
      side.skipped, side.method, side.numbers.values[0], side.numbers.values[1], side.rows_count,
      side.cols, side.head_columns, side.rows.sequence, side.rows.head, side.rows.row);
}
template <class Way, class Step>
void walk(Way& way, Step& step) {
  auto& of = step.of;
  way(of.batch, of.heads, of.kv_heads, of.queries, of.keys, of.head_size, of.keys_after, of.scale,
      of.causal, of.window);
  walk_side(way, step.q);
  walk_side(way, step.k);
  walk_side(way, step.v);
  way(step.bias.region, step.bias.offset, step.bias.values.sequence, step.bias.values.head,
      step.bias.values.row, step.to, step.out, step.lse, step.type, step.first, step.count);
}

struct writing {
  frame_writer& out;
  void one(const std::string& text) {
    out.put(text);
  }
  void one(bool value) {
    out.put(static_cast<std::uint8_t>(value));
  }
  void one(kernels::dtype value) {
    out.put(static_cast<std::uint8_t>(value));
  }
  template <class T>
  void one(T number) {
    out.put(number);
  }
  template <class... T>
  void operator()(const T&... each) {
    (one(each), ...);
  }
};

struct reading {
  frame_reader& in;
  void one(std::string& text) {
    in.take(text);
  }
  void one(bool& value) {
    value = small(1) != 0;
  }
  void one(kernels::dtype& value) {
    value = static_cast<kernels::dtype>(small(static_cast<std::uint8_t>(kernels::dtype::bf16)));
  }
  template <class T>
  void one(T& number) {
    in.take(number);
  }
  template <class... T>
  void operator()(T&... each) {
    (one(each), ...);
  }
  std::uint8_t small(std::uint8_t most) {
    std::uint8_t raw = 0;
    in.take(raw);
    in.require(raw <= most);
    return raw;
  }
};

} // namespace

void put(frame_writer& out, const attend_step& step) {
  writing way{out};
  walk(way, step);
}

void take(frame_reader& in, attend_step& step) {
  reading way{in};
  walk(way, step);
}

} // namespace viva::actors
