// What `viva bench throughput` compares its results with: one wrong byte of one result is found.

#include "bench/throughput_field.hpp"
#include "tests/support/catch.hpp"

#include <vector>

using namespace viva;
using bench::throughput_field;

TEST_CASE("throughput field: a byte of a result that is another one makes one wrong result") {
  constexpr std::uint64_t tensors = 40, values = 96;
  for (const auto* words : {"int8", "nf4", "q8_0", "sparse24"}) {
    INFO(words);
    const auto how = kernels::parse_recipe(words, dtype::f32).value();
    std::vector<std::byte> source(throughput_field::source_bytes_of(tensors, values) + 64);
    std::vector<std::byte> results(throughput_field::result_bytes_of(how, tensors, values) + 64);
    const auto from_64 = [](std::vector<std::byte>& in) {
      const auto past = reinterpret_cast<std::uintptr_t>(in.data()) % 64;
      return std::span(in).subspan((64 - past) % 64, in.size() - 64);
    };
    throughput_field field(how, tensors, values, 2, {from_64(source), from_64(results)});
    CHECK(field.wrong(tensors) == tensors); // wiped
    field.encode(0, tensors);
    CHECK(field.wrong(tensors) == 0);
    const auto map = map_planes(how, 1, values);
    for (std::size_t p = 0; p < map.count; ++p)
      for (const auto at : {std::uint64_t{0}, map.bytes[p] - 1}) {
        auto& byte = field.results()[17 * map.total + map.offset[p] + at];
        byte ^= std::byte{1};
        CHECK(field.wrong(tensors) == 1);
        CHECK(field.wrong(17) == 0);
        byte ^= std::byte{1};
      }
    CHECK(field.wrong(tensors) == 0);
    field.wipe(tensors);
    field.encode(0, 16);
    CHECK(field.wrong(16) == 0);
    CHECK(field.wrong(tensors) == tensors - 16);
  }
}
