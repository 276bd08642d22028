#include "actors/node/bulk_jobs.hpp"
#include "actors/node/listener.hpp"
#include "actors/node/stream.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <atomic>
#include <set>

namespace viva::actors::node {
namespace {

using tcp = asio::ip::tcp;
constexpr auto answered = asio::as_tuple(asio::use_awaitable);

enum class farewell { left, stranger, garbage };

/// One connection; everything of it runs on its socket's strand.
struct session {
  session(tcp::socket socket, tls* security)
      : executor(socket.get_executor()), link(std::move(socket), security) {
  }
  asio::any_io_executor executor;
  stream link;
  job_key key{};                 // after the hello
  std::shared_ptr<bulk_job> job; // after the hello
  std::uint64_t frames = 0;      // that came
};
using session_ptr = std::shared_ptr<session>;

} // namespace

struct bulk_server::house : std::enable_shared_from_this<house> {
  house(network::engine& threads, bulk_options how)
      : engine(threads), options(std::move(how)), strand(asio::make_strand(threads.io)),
        acceptor(strand), pause(strand) {
  }

  network::engine& engine;
  const bulk_options options;
  asio::any_io_executor strand; // of the acceptor
  tcp::acceptor acceptor;
  asio::steady_timer pause;
  std::uint16_t port = 0;
  bulk_jobs jobs;
  std::mutex mutex; // of the sessions
  std::set<session_ptr> sessions;
  bool closed = false;
  std::atomic<std::uint64_t> bytes_in{0}, bytes_out{0}, refused{0}, strangers{0}, garbage{0},
      stalled{0};

  asio::awaitable<void> accept_all();
  void welcome(tcp::socket socket);
  asio::awaitable<void> serve(session_ptr who);
  asio::awaitable<farewell> converse(session& with);
  asio::awaitable<bool> hear_hello(session& with);
  asio::awaitable<expected<frame_head>> hear(session& from);
  asio::awaitable<bool> take_put(session& from, const frame_head& what);
  asio::awaitable<void> give_data(session& to, const frame_head& what);
  asio::awaitable<void> answer(session& to, const frame_head& question, frame_kind kind,
                               std::span<const std::byte> body = {});
  asio::awaitable<void> refuse(session& to, const frame_head& question, const error& why);
  void close_sessions(const std::shared_ptr<bulk_job>& of);
};

asio::awaitable<void> bulk_server::house::accept_all() {
  while (true) {
    auto [problem, socket] = co_await acceptor.async_accept(
        asio::any_io_executor(asio::make_strand(engine.io)), answered);
    if (!problem) {
      welcome(std::move(socket));
      continue;
    }
    if (!acceptor.is_open())
      co_return;
    pause.expires_after(accept_pause);
    co_await pause.async_wait(answered);
  }
}

void bulk_server::house::welcome(tcp::socket socket) {
  const auto who = std::make_shared<session>(std::move(socket), options.security.get());
  {
    const std::lock_guard hold(mutex);
    if (closed || sessions.size() >= connections_max) {
      ++strangers;
      return;
    }
    sessions.insert(who);
  }
  who->link.leave_by(stream::clock::now() + options.patience); // unless a hello comes
  const auto self = shared_from_this();
  asio::co_spawn(
      who->executor, [self, who] { return self->serve(who); }, asio::detached);
  asio::co_spawn(
      who->executor, [self, who] { return who->link.watch(self->options.patience); },
      asio::detached);
}

asio::awaitable<void> bulk_server::house::serve(session_ptr who) {
  const auto how = co_await converse(*who);
  who->link.close();
  if (how == farewell::stranger) // one that says no whole hello in time, too
    ++strangers;
  else if (who->link.stalled())
    ++stalled;
  else if (how == farewell::garbage)
    ++garbage;
  const std::lock_guard hold(mutex);
  sessions.erase(who);
}

asio::awaitable<farewell> bulk_server::house::converse(session& with) {
  if (!co_await hear_hello(with))
    co_return farewell::stranger;
  while (true) {
    const auto head = co_await hear(with);
    if (!head)
      co_return head.error().code == errc::malformed ? farewell::garbage : farewell::left;
    if (head->key != with.key || head->number != with.frames)
      co_return farewell::garbage;
    if (head->kind == frame_kind::get)
      co_await give_data(with, *head);
    else if (head->kind != frame_kind::put || !co_await take_put(with, *head))
      co_return farewell::garbage;
  }
}

asio::awaitable<bool> bulk_server::house::hear_hello(session& with) {
  const waiting now(with.link);
  if (co_await with.link.handshake(true))
    co_return false;
  const auto head = co_await hear(with);
  if (!head || head->kind != frame_kind::hello || head->number != with.frames)
    co_return false;
  with.link.stay();
  with.key = head->key;
  with.job = jobs.find(head->key);
  if (with.job) {
    co_await answer(with, *head, frame_kind::welcome);
    co_return true;
  }
  // Named: GCC 12 destroys a braced temporary of a co_await twice.
  const error why{errc::fault, "this node has no such job, or it is from an earlier life"};
  co_await refuse(with, *head, why);
  co_return false;
}

/// `malformed` where what came is no frame; another error where the connection is gone.
asio::awaitable<expected<frame_head>> bulk_server::house::hear(session& from) {
  raw_head raw;
  if (const auto problem = co_await from.link.read(raw); problem)
    co_return fail(errc::fault, problem.message());
  ++from.frames;
  co_return decode_head(raw);
}

/// False where the body is not what its head says.
asio::awaitable<bool> bulk_server::house::take_put(session& from, const frame_head& what) {
  expected<void> written;
  {
    const auto room = co_await engine.incoming.take();
    const auto body = room.first(what.bytes);
    {
      const waiting now(from.link);
      if (co_await from.link.read(body))
        co_return true; // the next head finds the connection gone
    }
    if (checksum_of(body) != what.checksum)
      co_return false;
    written = from.job->write({what.file, what.offset, what.bytes}, body);
  }
  if (!written) {
    co_await refuse(from, what, written.error());
    co_return true;
  }
  bytes_in += what.bytes;
  co_await answer(from, what, frame_kind::done);
  co_return true;
}

asio::awaitable<void> bulk_server::house::give_data(session& to, const frame_head& what) {
  const auto room = co_await engine.outgoing.take();
  const auto body = room.first(what.bytes);
  if (const auto got = to.job->read({what.file, what.offset, what.bytes}, body); !got) {
    co_await refuse(to, what, got.error());
    co_return;
  }
  co_await answer(to, what, frame_kind::data, body);
  bytes_out += what.bytes;
}

asio::awaitable<void> bulk_server::house::answer(session& to, const frame_head& question,
                                                 frame_kind kind,
                                                 std::span<const std::byte> body) {
  frame_head head;
  head.kind = kind;
  head.key = question.key;
  head.number = question.number;
  head.bytes = static_cast<std::uint32_t>(body.size());
  head.checksum = body.empty() ? 0 : checksum_of(body);
  const auto raw = encode(head);
  const waiting now(to.link);
  co_await to.link.write(raw, body); // who does not take it is found out by the next read
}

asio::awaitable<void> bulk_server::house::refuse(session& to, const frame_head& question,
                                                 const error& why) {
  ++refused;
  const auto body = encode_refusal(why);
  co_await answer(to, question, frame_kind::refused, std::as_bytes(std::span(body)));
}

/// Those of a job; all where it is null.
void bulk_server::house::close_sessions(const std::shared_ptr<bulk_job>& of) {
  const std::lock_guard hold(mutex);
  closed = closed || of == nullptr;
  for (const auto& each : sessions)
    asio::post(each->executor, [each, of] {
      if (of == nullptr || each->job == of)
        each->link.close();
    });
}

expected<std::unique_ptr<bulk_server>> bulk_server::open(std::shared_ptr<network> threads,
                                                         const address& where, bulk_options how) {
  auto made = std::make_shared<house>(threads->inside(), std::move(how));
  const auto port = listen_on(made->acceptor, where);
  if (!port)
    return tl::make_unexpected(port.error());
  made->port = *port;
  asio::co_spawn(
      made->strand, [made] { return made->accept_all(); }, asio::detached);
  return std::unique_ptr<bulk_server>(new bulk_server(std::move(threads), std::move(made)));
}

bulk_server::bulk_server(std::shared_ptr<network> threads, std::shared_ptr<house> made)
    : x_threads(std::move(threads)), x_house(std::move(made)) {
}

bulk_server::~bulk_server() {
  asio::post(x_house->strand, [self = x_house] {
    error_code ignored;
    self->acceptor.close(ignored);
    self->pause.cancel();
    self->close_sessions(nullptr);
  });
}

std::uint16_t bulk_server::port() const noexcept {
  return x_house->port;
}

void bulk_server::open_job(const job_key& key, std::vector<shared_file> files) {
  x_house->jobs.open(key, std::move(files));
}

void bulk_server::open_job(const job_key& key, file_source any) {
  x_house->jobs.open(key, {}, std::move(any));
}

void bulk_server::allow(const job_key& key, access how, const range& what) {
  if (const auto job = x_house->jobs.find(key))
    job->allow(how, what);
}

void bulk_server::withdraw(const job_key& key, access how, const range& what) {
  if (const auto job = x_house->jobs.find(key))
    job->withdraw(how, what);
}

void bulk_server::close_job(const job_key& key) {
  const auto job = x_house->jobs.remove(key);
  if (!job)
    return;
  job->close();
  x_house->close_sessions(job);
}

bulk_counts bulk_server::counts() const {
  auto& all = *x_house;
  const std::lock_guard hold(all.mutex);
  return {all.sessions.size(), all.bytes_in, all.bytes_out, all.refused,
          all.strangers,       all.garbage,  all.stalled};
}

} // namespace viva::actors::node
