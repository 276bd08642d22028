#include "actors/node/bulk_files.hpp"
#include "actors/node/stream.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <deque>

namespace viva::actors::node {
namespace {

using tcp = asio::ip::tcp;
constexpr auto answered = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t unanswered_max = 8;

struct request {
  access how; // of the range there
  shared_file file;
  std::uint64_t at; // in `file`
  range where;
  bulk_client::done then;
  std::uint64_t turn = 0;    // of gets
  std::uint64_t sent = 0;    // bytes asked for or sent
  std::size_t open = 0;      // frames without an answer
  bool ended = false;        // no more frames will be sent
  expected<void> outcome{};  // the first problem
};
using request_ptr = std::shared_ptr<request>;

/// What a server said; not to be taken for an error of the connection.
struct refusal {
  error why;
};

struct open_frame {
  request_ptr of;
  frame_head head;
  std::uint64_t at; // in the local file
};

void finish(request& what, expected<void> how) {
  if (const auto then = std::exchange(what.then, nullptr))
    then(std::move(how));
}

void note(request& what, const expected<void>& step) {
  if (!step && what.outcome)
    what.outcome = step;
  what.ended = what.ended || !step;
}

} // namespace

/// Everything but the two functions for callers runs on its strand.
struct bulk_client::connection : std::enable_shared_from_this<connection> {
  connection(network::engine& threads, address where, const job_key& whose, bulk_options how)
      : engine(threads), peer(std::move(where)), key(whose), options(std::move(how)),
        strand(asio::make_strand(threads.io)), link(tcp::socket(strand), options.security.get()),
        wake(strand) {
  }

  network::engine& engine;
  const address peer;
  const job_key key;
  const bulk_options options;
  asio::any_io_executor strand;
  stream link;
  asio::steady_timer wake; // of the writer
  std::deque<request_ptr> queue{};
  std::deque<open_frame> unanswered{};
  std::uint64_t frames = 0; // that were sent
  bool started = false;
  std::optional<error> failed{};

  void ask(request_ptr what);
  void add(request_ptr what);
  void give_up(std::uint64_t turn);
  void end(error why);
  error lost(const error_code& problem) const;
  error nonsense(const std::string& what) const;
  asio::awaitable<void> run();
  asio::awaitable<expected<void>> greet();
  asio::awaitable<void> write_all();
  asio::awaitable<void> write_next(request_ptr what);
  asio::awaitable<expected<void>> read_all();
  asio::awaitable<expected<frame_head>> hear();
  asio::awaitable<expected<void>> take_answer(const frame_head& head);
  asio::awaitable<expected<void>> take_data(const open_frame& asked, const frame_head& head);
  asio::awaitable<expected<refusal>> take_refusal(const frame_head& head);
};

void bulk_client::connection::ask(request_ptr what) {
  asio::post(strand, [self = shared_from_this(), what = std::move(what)] { self->add(what); });
}

void bulk_client::connection::add(request_ptr what) {
  if (failed)
    return finish(*what, tl::make_unexpected(*failed));
  if (what->where.bytes == 0)
    return finish(*what, {});
  queue.push_back(std::move(what));
  wake.cancel();
  if (std::exchange(started, true))
    return;
  const auto self = shared_from_this();
  asio::co_spawn(
      strand, [self] { return self->run(); }, asio::detached);
  asio::co_spawn(
      strand, [self] { return self->link.watch(self->options.patience); }, asio::detached);
}

void bulk_client::connection::give_up(std::uint64_t turn) {
  const auto drop = [&](request& each) {
    if (each.how != access::read || each.turn != turn || !each.then) // or it is answered
      return;
    note(each, fail(errc::interrupted, peer.text() + ": it was given up"));
    finish(each, each.outcome);
  };
  for (const auto& each : queue)
    drop(*each);
  for (const auto& each : unanswered)
    drop(*each.of);
}

void bulk_client::connection::end(error why) {
  if (failed)
    return;
  if (link.stalled())
    why = {errc::timed_out, peer.text() + ": nothing moved for "
                              + std::to_string(options.patience.count())
                              + " ms; is the node stopped, or its disk or the network overloaded?"};
  failed = std::move(why);
  link.close();
  wake.cancel();
  for (const auto& each : std::exchange(unanswered, {}))
    finish(*each.of, tl::make_unexpected(*failed));
  for (const auto& each : std::exchange(queue, {}))
    finish(*each, tl::make_unexpected(*failed));
}

error bulk_client::connection::lost(const error_code& problem) const {
  if (problem.category() == asio::error::get_ssl_category()
      || problem == asio::ssl::error::stream_truncated)
    return {errc::bad_option, peer.text() + ": no encrypted connection: " + problem.message()
                                + "; do both sides have certificates of one authority (--tls, "
                                  "viva certs)?"};
  return {errc::fault, peer.text() + ": " + problem.message()
                         + "; is viva node running there, its bulk port open, and --tls given on "
                           "both sides or on none?"};
}

error bulk_client::connection::nonsense(const std::string& what) const {
  return {errc::fault, peer.text() + ": " + what};
}

asio::awaitable<void> bulk_client::connection::run() {
  auto how = co_await greet();
  if (how && !failed) {
    asio::co_spawn(
        strand, [self = shared_from_this()] { return self->write_all(); }, asio::detached);
    how = co_await read_all();
  }
  if (!how)
    end(how.error());
}

asio::awaitable<expected<void>> bulk_client::connection::greet() {
  const waiting now(link);
  if (const auto problem = co_await link.connect(peer); problem)
    co_return tl::make_unexpected(lost(problem));
  if (const auto problem = co_await link.handshake(false); problem)
    co_return tl::make_unexpected(lost(problem));
  frame_head hello;
  hello.key = key;
  hello.number = ++frames;
  const auto raw = encode(hello);
  if (const auto problem = co_await link.write(raw, {}); problem)
    co_return tl::make_unexpected(lost(problem));
  const auto head = co_await hear();
  if (!head)
    co_return tl::make_unexpected(head.error());
  if (head->kind == frame_kind::refused) {
    const auto told = co_await take_refusal(*head);
    co_return tl::make_unexpected(told ? told->why : told.error());
  }
  if (head->kind != frame_kind::welcome || head->key != key || head->number != frames)
    co_return tl::make_unexpected(nonsense("it did not answer the hello"));
  co_return expected<void>{};
}

asio::awaitable<void> bulk_client::connection::write_all() {
  while (!failed) {
    if (queue.empty() || unanswered.size() >= unanswered_max) {
      wake.expires_at(asio::steady_timer::time_point::max());
      co_await wake.async_wait(answered);
      continue;
    }
    const auto next = queue.front();
    if (!next->ended)
      co_await write_next(next);
    if (failed || (!next->ended && next->sent < next->where.bytes))
      continue;
    next->ended = true;
    queue.pop_front();
    if (next->open == 0)
      finish(*next, next->outcome);
  }
}

/// One frame of it.
asio::awaitable<void> bulk_client::connection::write_next(request_ptr what) {
  frame_head head;
  head.kind = what->how == access::write ? frame_kind::put : frame_kind::get;
  head.key = key;
  head.file = what->where.file;
  head.offset = what->where.offset + what->sent;
  head.bytes = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(what->where.bytes - what->sent, body_bytes_max));
  const auto at = what->at + what->sent;
  slab_lease room;
  std::span<const std::byte> body;
  if (what->how == access::write) {
    room = co_await engine.outgoing.take();
    if (failed || what->ended)
      co_return;
    const auto got = read_at(*what->file, at, room.first(head.bytes), "the file to send");
    if (note(*what, got); !got)
      co_return;
    body = room.first(head.bytes);
    head.checksum = checksum_of(body);
  }
  head.number = ++frames;
  what->sent += head.bytes;
  ++what->open;
  unanswered.push_back({what, head, at});
  link.begin();
  const auto raw = encode(head);
  const auto problem = co_await link.write(raw, body);
  if (problem)
    end(lost(problem));
}

asio::awaitable<expected<frame_head>> bulk_client::connection::hear() {
  raw_head raw;
  if (const auto problem = co_await link.read(raw); problem)
    co_return tl::make_unexpected(lost(problem));
  auto head = decode_head(raw);
  if (!head)
    co_return tl::make_unexpected(nonsense(head.error().text));
  co_return head;
}

asio::awaitable<expected<void>> bulk_client::connection::read_all() {
  while (true) {
    const auto head = co_await hear();
    if (!head)
      co_return tl::make_unexpected(head.error());
    if (unanswered.empty() || head->key != key || head->number != unanswered.front().head.number)
      co_return tl::make_unexpected(nonsense("an answer that nobody asked for"));
    const auto taken = co_await take_answer(*head);
    if (!taken || failed)
      co_return taken;
  }
}

/// By these codes a request tells the problem of a file here. A peer that refuses has another.
error as_theirs(frame_kind asked, error why) {
  const bool as_ours = asked == frame_kind::put
                         ? why.code == errc::unreadable
                         : why.code == errc::disk_full || why.code == errc::cannot_write;
  if (as_ours)
    why.code = errc::fault;
  return why;
}

asio::awaitable<expected<void>> bulk_client::connection::take_answer(const frame_head& head) {
  const auto asked = unanswered.front();
  auto& of = *asked.of;
  expected<void> step;
  if (head.kind == frame_kind::data && asked.head.kind == frame_kind::get
      && head.bytes == asked.head.bytes) {
    step = co_await take_data(asked, head);
  } else if (head.kind == frame_kind::refused) {
    const auto told = co_await take_refusal(head);
    if (!told)
      co_return tl::make_unexpected(told.error());
    note(of, tl::make_unexpected(as_theirs(asked.head.kind, told->why)));
  } else if (head.kind != frame_kind::done || asked.head.kind != frame_kind::put) {
    co_return tl::make_unexpected(nonsense("an answer that does not fit"));
  }
  if (!step || failed)
    co_return step;
  unanswered.pop_front();
  link.end();
  wake.cancel();
  if (--of.open == 0 && of.ended && (queue.empty() || queue.front() != asked.of))
    finish(of, of.outcome);
  co_return step;
}

/// Fails where the connection does; a problem of the local file is the request's.
asio::awaitable<expected<void>> bulk_client::connection::take_data(const open_frame& asked,
                                                                   const frame_head& head) {
  const auto room = co_await engine.incoming.take();
  const auto body = room.first(head.bytes);
  if (const auto problem = co_await link.read(body); problem)
    co_return tl::make_unexpected(lost(problem));
  if (checksum_of(body) != head.checksum)
    co_return tl::make_unexpected(nonsense("bytes came damaged"));
  if (!failed && asked.of->outcome)
    note(*asked.of, write_at(*asked.of->file, asked.at, body, "the file to receive into"));
  co_return expected<void>{};
}

asio::awaitable<expected<refusal>> bulk_client::connection::take_refusal(const frame_head& head) {
  std::array<std::byte, refusal_bytes_max> room;
  const auto body = std::span(room).first(head.bytes);
  if (const auto problem = co_await link.read(body); problem)
    co_return tl::make_unexpected(lost(problem));
  auto why = decode_refusal(body);
  if (!why || checksum_of(body) != head.checksum)
    co_return tl::make_unexpected(nonsense("a refusal came damaged"));
  why->text = peer.text() + ": " + why->text;
  co_return refusal{std::move(*why)};
}

bulk_client::bulk_client(std::shared_ptr<network> threads, address where, const job_key& key,
                         bulk_options how)
    : x_threads(std::move(threads)), x_connection(std::make_shared<connection>(
                                         x_threads->inside(), std::move(where), key,
                                         std::move(how))) {
}

bulk_client::~bulk_client() {
  asio::post(x_connection->strand, [self = x_connection] {
    self->end({errc::interrupted, self->peer.text() + ": the connection was given up"});
  });
}

void bulk_client::put(shared_file from, std::uint64_t at, const range& to, done then) {
  x_connection->ask(std::make_shared<request>(
      request{access::write, std::move(from), at, to, std::move(then)}));
}

void bulk_client::get(const range& from, shared_file to, std::uint64_t at, done then,
                      std::uint64_t turn) {
  x_connection->ask(std::make_shared<request>(
      request{access::read, std::move(to), at, from, std::move(then), turn}));
}

void bulk_client::give_up(std::uint64_t turn) {
  asio::post(x_connection->strand, [self = x_connection, turn] { self->give_up(turn); });
}

} // namespace viva::actors::node
