#pragma once

// Middleman: CAF's, which carries letters between coordinator and nodes, set up as it is safe.
//
// CAF 0.17 by itself binds every interface, beats no heart, lets connect() block for minutes, and
// falls to anonymous encryption where certificates are missing. Here addresses are said, hearts
// beat on both sides, a connection is tried first without CAF, and TLS has certificates or is off.

#include "actors/node/address.hpp"
#include "actors/node/tls.hpp"
#include "supervision/descriptor.hpp"

#include <caf/fwd.hpp>
#include <caf/io/middleman_actor.hpp>

#include <chrono>
#include <optional>
#include <vector>

namespace viva::actors::node {

/// The certificates that connections to or on these addresses must have, none where they may do
/// without. Fails where they must and there are none, or those of the folder are not good.
expected<std::optional<tls_files>> security_of(const std::vector<address>& all,
                                               const std::filesystem::path& folder, bool insecure);

/// What CAF reads for each connection anew, and ends the process over where it cannot: copies in
/// memory, which nobody removes. Empty where nothing is encrypted.
using kept_files = std::vector<supervision::descriptor>;

/// Before the actor system is made; what it returns has to outlive that.
kept_files load_middleman(caf::actor_system_config& config,
                          const std::optional<tls_files>& security);

/// Lets others find `whom`; the port that was bound.
expected<std::uint16_t> publish(const caf::actor& whom, const address& where);

/// Who connects: asked (connect_atom, host, port) by an actor, with a timeout.
caf::io::middleman_actor connector(caf::actor_system& system);

/// Whether somebody listens there. Blocks no longer than `patience`.
expected<void> knock(const address& where, std::chrono::milliseconds patience);

} // namespace viva::actors::node
