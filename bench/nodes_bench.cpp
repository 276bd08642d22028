#include "bench/nodes_bench.hpp"

#include "actors/node/bulk.hpp"
#include "actors/node/certificates.hpp"
#include "actors/node/wire.hpp"
#include "bench/samples.hpp"
#include "bench/scratch_folder.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include <array>
#include <chrono>
#include <ctime>
#include <future>
#include <thread>
#include <utility>

#include <sys/mman.h>
#include <unistd.h>

namespace viva::bench {
namespace {

namespace asio = boost::asio;
namespace node = actors::node;
using tcp = asio::ip::tcp;

constexpr std::size_t frame = node::body_bytes_max;
constexpr std::size_t file_frames = 64; // 64 MiB, sent again and again
constexpr std::size_t window = 8;

struct cost {
  double seconds = 0, processor_seconds = 0;
};

double process_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

template <class Work>
cost timed(const Work& work) {
  const auto begin = std::chrono::steady_clock::now();
  const double processor = process_seconds();
  work();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  return {took.count(), process_seconds() - processor};
}

/// 64 MiB of numbers, all pages there.
node::shared_file memory_file() {
  supervision::descriptor made{::memfd_create("viva-bench", MFD_CLOEXEC)};
  std::vector<std::uint32_t> body(frame / sizeof(std::uint32_t));
  std::uint32_t number = 1;
  for (std::size_t i = 0; i < file_frames; ++i) {
    for (auto& each : body)
      each = number = number * 1664525u + 1013904223u;
    if (::pwrite(made.get(), body.data(), frame, static_cast<off_t>(i * frame))
        != static_cast<ssize_t>(frame))
      return nullptr;
  }
  return std::make_shared<const supervision::descriptor>(std::move(made));
}

class raw_pair {
public:
  raw_pair(node::shared_file from, node::shared_file to)
      : x_from(std::move(from)), x_to(std::move(to)) {
    tcp::acceptor door(x_io, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    x_sender.connect(door.local_endpoint());
    x_taker = door.accept();
    x_sender.set_option(tcp::no_delay(true));
    x_taker.set_option(tcp::no_delay(true));
  }

  void move(std::size_t frames, bool files) {
    std::thread taker([this, frames, files] { take(frames, files); });
    std::vector<std::byte> body(frame);
    node::raw_head head{}, answer{};
    for (std::size_t i = 0; i < frames; ++i) {
      if (i >= window)
        asio::read(x_sender, asio::buffer(answer));
      if (files)
        x_moved += ::pread(x_from->get(), body.data(), frame, place(i));
      asio::write(x_sender, std::array<asio::const_buffer, 2>{asio::buffer(head),
                                                             asio::buffer(body)});
    }
    for (std::size_t i = 0; i < std::min(frames, window); ++i)
      asio::read(x_sender, asio::buffer(answer));
    taker.join();
  }

  /// One way and nothing else.
  void stream(std::size_t frames) {
    std::thread taker([this, frames] {
      std::vector<std::byte> body(frame);
      for (std::size_t i = 0; i < frames; ++i)
        asio::read(x_taker, asio::buffer(body));
    });
    const std::vector<std::byte> body(frame);
    for (std::size_t i = 0; i < frames; ++i)
      asio::write(x_sender, asio::buffer(body));
    taker.join();
  }

private:
  static off_t place(std::size_t i) {
    return static_cast<off_t>(i % file_frames * frame);
  }
  void take(std::size_t frames, bool files) {
    std::vector<std::byte> body(frame);
    node::raw_head head{};
    for (std::size_t i = 0; i < frames; ++i) {
      asio::read(x_taker, asio::buffer(head));
      asio::read(x_taker, asio::buffer(body));
      if (files)
        x_written += ::pwrite(x_to->get(), body.data(), frame, place(i));
      asio::write(x_taker, asio::buffer(head));
    }
  }

  node::shared_file x_from, x_to;
  asio::io_context x_io{1};
  tcp::socket x_sender{x_io}, x_taker{x_io};
  ssize_t x_moved = 0, x_written = 0;
};

class bulk_pair {
public:
  bulk_pair(node::shared_file from, node::shared_file to, node::tls_ptr security)
      : x_from(std::move(from)), x_to(std::move(to)), x_how{std::move(security)} {
  }

  expected<void> open() {
    auto made = node::bulk_server::open(x_theirs, {"127.0.0.1", 0}, x_how);
    if (!made)
      return tl::make_unexpected(made.error());
    x_server = std::move(*made);
    x_server->open_job(key, {x_to});
    for (const auto how : {node::access::read, node::access::write})
      x_server->allow(key, how, {0, 0, file_frames * frame});
    x_client = std::make_unique<node::bulk_client>(
        x_ours, node::address{"127.0.0.1", x_server->port()}, key, x_how);
    return {};
  }

  expected<void> move(std::size_t frames, bool put) {
    expected<void> all;
    for (std::size_t done = 0; done < frames && all; done += file_frames) {
      const node::range there{0, 0, std::min(frames - done, file_frames) * frame};
      std::promise<expected<void>> said;
      const auto then = [&said](expected<void> how) { said.set_value(std::move(how)); };
      put ? x_client->put(x_from, 0, there, then) : x_client->get(there, x_from, 0, then);
      all = said.get_future().get();
    }
    return all;
  }

private:
  static constexpr node::job_key key{1, 2, 3};
  node::shared_file x_from, x_to;
  node::bulk_options x_how;
  std::shared_ptr<node::network> x_ours = std::make_shared<node::network>(),
                                 x_theirs = std::make_shared<node::network>();
  std::unique_ptr<node::bulk_server> x_server;
  std::unique_ptr<node::bulk_client> x_client;
};

/// Made for this run and removed at once: connections keep what they have read.
expected<node::tls_ptr> certificates() {
  const auto room = scratch_folder::make();
  if (!room)
    return tl::unexpected(room.error());
  const auto folder = room->path() / "c";
  return node::make_certificates(folder, {.names = {"node"}})
      .and_then([&] { return node::tls_files_in(folder / "node"); })
      .and_then([](const node::tls_files& all) { return node::load_tls(all); });
}

class table {
public:
  table(const nodes_bench_options& options, const std::function<void(const nodes_line&)>& tell)
      : x_options(options), x_tell(tell) {
  }
  /// One round to warm up, then those that count.
  expected<void> row(const std::string& metric, const std::function<expected<void>()>& work) {
    if (auto warm = work(); !warm)
      return warm;
    const double bytes = 1048576.0 * x_options.mebibytes;
    std::vector<double> rates, processor;
    for (std::uint32_t i = 0; i < x_options.rounds; ++i) {
      expected<void> done;
      const auto took = timed([&] { done = work(); });
      if (!done)
        return done;
      rates.push_back(bytes / took.seconds / 1e6);
      processor.push_back(took.processor_seconds / (bytes / 1e9));
    }
    nodes_line line{metric, median(rates), median_deviation(rates), median(processor)};
    x_raw = x_raw == 0 ? line.mb_per_s : x_raw;
    x_raw_files = metric == "raw_files" ? line.mb_per_s : x_raw_files;
    line.to_raw = line.mb_per_s / x_raw;
    if (x_raw_files != 0)
      line.to_raw_files = line.mb_per_s / x_raw_files;
    x_tell(line);
    return {};
  }

private:
  const nodes_bench_options& x_options;
  const std::function<void(const nodes_line&)>& x_tell;
  double x_raw = 0, x_raw_files = 0;
};

} // namespace

expected<void> measure_nodes(const nodes_bench_options& options,
                             const std::function<void(const nodes_line&)>& tell) {
  const std::size_t frames = options.mebibytes; // of 1 MiB each
  const auto from = memory_file(), to = memory_file();
  if (!from || !to)
    return fail(errc::over_budget, "bench nodes: no 128 MiB of memory for its files; free some");
  const auto security = certificates();
  if (!security)
    return tl::make_unexpected(security.error());
  table all(options, tell);
  {
    raw_pair raw(from, to);
    const std::pair<const char*, std::function<void()>> ways[]
      = {{"raw", [&] { raw.move(frames, false); }},
         {"raw_stream", [&] { raw.stream(frames); }},
         {"raw_files", [&] { raw.move(frames, true); }}};
    for (const auto& [metric, move] : ways) {
      const auto work = [&move = move]() -> expected<void> {
        move();
        return {};
      };
      if (auto told = all.row(metric, work); !told)
        return told;
    }
  }
  for (const auto& how : {node::tls_ptr(), *security}) {
    bulk_pair bulk(from, to, how);
    if (auto open = bulk.open(); !open)
      return open;
    for (const bool put : {true, false})
      if (auto told = all.row(std::string(put ? "put" : "get") + (how ? "_tls" : ""),
                              [&] { return bulk.move(frames, put); });
          !told)
        return told;
  }
  return {};
}

} // namespace viva::bench
