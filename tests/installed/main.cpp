// Streams small tensors through viva::pipeline, encodes a large one, attends; 0 if all is well.

#include <viva/pipeline.hpp>

#include <cmath>
#include <iostream>
#include <vector>

int main() {
  std::vector<std::vector<float>> tensors(10'000, std::vector<float>(512));
  for (std::size_t i = 0; i < tensors.size(); ++i)
    for (std::size_t k = 0; k < 512; ++k)
      tensors[i][k] = std::sin(static_cast<float>(i + 7 * k));
  tensors[1234][5] = std::nanf("");

  viva::pipeline pipe{{.lanes = 2}};
  std::size_t done = 0, refused = 0;
  for (auto&& [index, result] : pipe.stream(tensors, viva::int8{})) {
    if (result)
      ++done;
    else if (++refused; index == 1234)
      std::cerr << result.error().text << '\n';
  }

  const std::vector<float> large(1 << 20, 0.25f);
  auto answer = pipe.quantize(viva::view_of(large), viva::nf4{});
  const auto encoded = answer.get();
  if (!encoded) {
    std::cerr << encoded.error().text << '\n';
    return 1;
  }
  std::vector<float> back(large.size());
  const bool same = encoded->decode(back).has_value() && back == large;
  auto rows = viva::view_of(large);
  rows.rows = 1024;
  rows.cols = 64;
  const auto seen = pipe.attention(rows, rows, rows, {.causal = true}).get();
  const bool attends = seen && seen->out.size() == 1024 * 64 * sizeof(float);

  const bool told = viva::write_prometheus(pipe.metrics(), "embedded.prom").has_value();

  std::cerr << done << " tensors encoded, " << refused << " refused; "
            << encoded->bytes() << " bytes of nf4 decode to " << (same ? "the same" : "others")
            << "; " << pipe.metrics().queue->messages << " messages\n";
  return done == 9'999 && refused == 1 && same && attends && told ? 0 : 1;
}
