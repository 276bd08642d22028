#pragma once

// Bulk: bytes of files from one machine to another, beside the actors' control messages.
//
// A node runs a server: per job a numbered table of files, and of each the ranges that a peer may
// write to or read from just now. A coordinator has a client per node and job: `put` writes bytes
// of a local file into a range there, `get` brings a range into a local file. A range travels as
// frames of up to 1 MiB (wire.hpp), each with the checksum of its bytes; a frame is written where
// it belongs as soon as its checksum is right. So a range may be there in part after an error, and
// putting it again puts it right: nothing here is journaled, and nobody may believe bytes that no
// answer has vouched for.
//
// What a peer can do wrong is answered with an error (a range that was not allowed, a full disk) or
// by closing its connection (what is no frame); it is counted, and the server lives on.

#include "actors/byte_range.hpp"
#include "actors/node/address.hpp"
#include "actors/node/network.hpp"
#include "actors/node/tls.hpp"
#include "supervision/descriptor.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace viva::actors::node {

/// Bytes of a file of a job's table.
using range = byte_range;

/// What a connection belongs to: this life of the node, this life of the coordinator, one job. All
/// are random numbers or counted up, and a frame that does not carry all three is refused: it comes
/// from somebody's earlier life.
struct job_key {
  std::uint64_t incarnation = 0, epoch = 0, job = 0;
  friend auto operator<=>(const job_key&, const job_key&) = default;
};

using shared_file = std::shared_ptr<const supervision::descriptor>;

enum class access : std::uint8_t { read, write };

/// The file that a range is of which no table has, or why it may not be touched; any thread.
using file_source = std::function<expected<shared_file>(access, const range&)>;

struct bulk_options {
  tls_ptr security;                           ///< Null: plain TCP.
  std::chrono::milliseconds patience{10'000}; ///< Without a byte, with something to wait for.
};

/// Since the server began.
struct bulk_counts {
  std::uint64_t connections = 0;   ///< Now open.
  std::uint64_t bytes_in = 0;      ///< Of bodies that were right.
  std::uint64_t bytes_out = 0;
  std::uint64_t refused = 0;       ///< Requests answered with an error.
  std::uint64_t strangers = 0;     ///< Closed: no certificate of ours, no hello, none in time, or
                                   ///< another life's.
  std::uint64_t garbage = 0;       ///< Closed: no frame, too long, out of order, a wrong checksum.
  std::uint64_t stalled = 0;       ///< Closed: in the middle of something, all its patience.
};

/// Its functions may be called from any thread.
class bulk_server {
public:
  /// Listens on the address; port 0: one that the system chooses.
  static expected<std::unique_ptr<bulk_server>> open(std::shared_ptr<network> threads,
                                                     const address& where, bulk_options how = {});
  ~bulk_server();
  bulk_server(const bulk_server&) = delete;
  bulk_server& operator=(const bulk_server&) = delete;

  std::uint16_t port() const noexcept;

  /// Files are numbered in this order, open for what will be allowed. Nothing is allowed yet.
  void open_job(const job_key& key, std::vector<shared_file> files);
  /// A job without a table: `any` is asked at each touch, and until close_job has returned.
  void open_job(const job_key& key, file_source any);
  /// What was allowed twice is allowed until it was withdrawn twice.
  void allow(const job_key& key, access how, const range& what);
  /// When it returns, nothing reads or writes there any more that is not allowed.
  void withdraw(const job_key& key, access how, const range& what);
  /// As withdraw of everything; its connections are closed and its files let go.
  void close_job(const job_key& key);

  bulk_counts counts() const;

private:
  struct house;
  bulk_server(std::shared_ptr<network> threads, std::shared_ptr<house> made);
  std::shared_ptr<network> x_threads;
  std::shared_ptr<house> x_house;
};

/// One connection, made by the first request. Once it has failed, so does everything that is asked
/// of it, with the same error: whoever owns it makes another. Its functions may be called from any
/// thread.
class bulk_client {
public:
  /// Called once, on a thread of the network: it must not wait. Retryable errors (`retryable`) are
  /// those of the connection or the node; others are the request's own, and the connection lives
  /// on. `unreadable` of a put, `disk_full` and `cannot_write` of a get: of the file here.
  using done = std::function<void(expected<void>)>;

  bulk_client(std::shared_ptr<network> threads, address where, const job_key& key,
              bulk_options how = {});
  /// What is under way is answered with `interrupted`, perhaps after this returns.
  ~bulk_client();
  bulk_client(const bulk_client&) = delete;
  bulk_client& operator=(const bulk_client&) = delete;

  /// Requests are done in the order of the calls. At most 8 frames are unanswered at a time.
  void put(shared_file from, std::uint64_t at, const range& to, done then);
  /// `turn`: by which `give_up` knows it.
  void get(const range& from, shared_file to, std::uint64_t at, done then, std::uint64_t turn = 0);
  /// Gets of this turn that are not done are answered with `interrupted`, and from then on nothing
  /// more of them is written. What comes of them is read and thrown away; the connection lives on.
  void give_up(std::uint64_t turn);

private:
  struct connection;
  std::shared_ptr<network> x_threads;
  std::shared_ptr<connection> x_connection;
};

} // namespace viva::actors::node
