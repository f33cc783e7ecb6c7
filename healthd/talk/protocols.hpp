// One maker for each protocol that is more than lines (those are in dialogue.hpp). `spec` outlives the Talk; `random`
// is replaced by tests.
#pragma once

#include <memory>

#include "healthd/talk/parts.hpp"

namespace lbcluster::health {

// send and expect with escapes, over TCP or one datagram.
std::unique_ptr<Talk> make_raw_talk(const ProbeSpec& spec, bool datagrams);
std::unique_ptr<Talk> make_sip_talk(const ProbeSpec& spec, Random random = system_random);
std::unique_ptr<Talk> make_dns_talk(const ProbeSpec& spec, Random random = system_random);
std::unique_ptr<Talk> make_mysql_talk(const ProbeSpec& spec);
std::unique_ptr<Talk> make_postgresql_talk(const ProbeSpec& spec, Random random = system_random);
std::unique_ptr<Talk> make_radius_talk(const ProbeSpec& spec, Random random = system_random);
std::unique_ptr<Talk> make_ldap_talk(const ProbeSpec& spec);
std::unique_ptr<Talk> make_grpc_talk(const ProbeSpec& spec);

}  // namespace lbcluster::health
