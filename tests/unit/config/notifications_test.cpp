// OP-10: notifications in the configuration. HC-5, RE-4: the deadline of a drain.
#include <gtest/gtest.h>

#include "lbcluster/base/time.hpp"
#include "lbcluster/config/load.hpp"
#include "lbcluster/config/schema.hpp"
#include "lbcluster/config/services.hpp"
#include "tests/unit/config/loading.hpp"

namespace lbcluster::config {
namespace {

TEST(Notifications, TheDocumentedExampleIsAccepted) {
    const LoadResult loaded = load(R"(
notifications:
  - label: ops
    mail: {server: mail.example.org, from: lb@example.org, to: [ops@example.org]}
  - label: chat
    on: [services, roles]
    webhook: {url: "https://chat.example.org/hooks/1", headers: {Authorization: Bearer 1234}}
  - label: script
    on: roles
    command: {path: /usr/local/bin/on-change}
)");
    EXPECT_EQ(format(loaded.problems), "");
    const auto& list = loaded.effective_cluster.notifications();
    ASSERT_EQ(list.size(), 3);
    EXPECT_EQ(list[0].mail().port(), 25U);
    EXPECT_EQ(list[0].gather().seconds(), 2);
    EXPECT_EQ(list[1].on(1), NOTIFICATION_TOPIC_ROLES);
    EXPECT_EQ(list[2].command().run_as(), "nobody");
    const std::string shown = to_json(loaded.effective_cluster);
    EXPECT_EQ(shown.find("1234"), std::string::npos) << shown;
}

TEST(Notifications, MistakesAreToldWithTheirPlace) {
    const std::string mail = "mail: {server: m, from: a@b, to: [c@d]";
    const std::vector<std::pair<std::string, std::string>> table{
        {"{label: a}", "tells nobody"},
        {"{label: a, command: {path: /x}, " + mail + "}}", "more than one way"},
        {"{label: a, command: {path: x}}", "not an absolute path"},
        {"{label: a, on: [weather], command: {path: /x}}", "none of servers, services, roles"},
        {"{label: a, webhook: {url: ftp://x/}}", "is not a URL"},
        {"{label: a, webhook: {url: 'http://x/ y'}}", "is not a URL"},
        {"{label: a, webhook: {url: http://x/, verify: true}}", "only https has certificates"},
        {"{label: a, webhook: {url: http://x/, headers: {Host: y}}}", "is set by itself"},
        {"{label: a, webhook: {url: http://x/, headers: {X: \"a\\nb\"}}}", "line break"},
        {"{label: a, " + mail + ", user: u}}", "a user without a password"},
        {"{label: a, " + mail + ", user: u, password: p}}", "in the clear"},
        {"{label: a, " + mail + ", starttls: true, port: 465}}", "from the first byte"},
        {"{label: a, " + mail + ", verify: false}}", "without TLS"},
        {"{label: a, mail: {server: 'm m', from: a@b, to: [c@d]}}", "neither a host name nor an address"},
        {"{label: a, mail: {server: m, from: a, to: [c@d]}}", "not a mail address"},
        {"{label: a, mail: {server: m, from: a@b, to: ['c@d>,<e@f']}}", "not a mail address"},
        {"{label: a, mail: {server: m, from: a@b}}", "has no 'to'"},
        {"{label: a, " + mail + "}}, {label: a, " + mail + "}}", "label of another one"},
    };
    for (const auto& [entries, complaint] : table) {
        const std::string told = format(load("notifications: [" + entries + "]\n").problems);
        EXPECT_NE(told.find(complaint), std::string::npos) << entries << "\n" << told;
        EXPECT_NE(told.find("cluster.yaml:1:"), std::string::npos) << told;
    }
    EXPECT_TRUE(load("notifications: [{label: a, " + mail + ", port: 465, user: u, password: p}}]\n").ok());
}

std::string with_server(const std::string& keys) {
    return "virtual_services: [{label: w, address: 10.0.0.1, ports: [80], real_servers: [{label: s, address: "
           "10.0.0.2, " +
           keys + "}]}]\n";
}

TEST(DrainDeadline, BelongsToADrain) {
    EXPECT_TRUE(load(with_server("state: drain, drain_until: '2026-11-21T14:30:00Z'")).ok());
    for (const char* keys :
         {"drain_until: '2026-11-21T14:30:00Z'", "state: halt, drain_until: '2026-11-21T14:30:00Z'"}) {
        EXPECT_NE(format(load(with_server(keys)).problems).find("only a server with state: drain"), std::string::npos);
    }
    EXPECT_NE(format(load(with_server("state: drain, drain_until: tomorrow")).problems).find("is not a time"),
              std::string::npos);
}

TEST(DrainDeadline, HaltsWhenItsTimeHasCome) {
    const std::uint64_t until = parse_rfc3339("2026-11-21T14:30:00Z").value();
    RealServer server;
    EXPECT_EQ(effective_state(server, until), SERVER_STATE_ONLINE);
    server.set_state(SERVER_STATE_DRAIN);
    EXPECT_EQ(effective_state(server, until), SERVER_STATE_DRAIN);
    server.set_drain_until("2026-11-21T14:30:00Z");
    EXPECT_EQ(effective_state(server, until - 1), SERVER_STATE_DRAIN);
    EXPECT_EQ(effective_state(server, until), SERVER_STATE_HALT);
    server.set_state(SERVER_STATE_HALT);
    EXPECT_EQ(effective_state(server, until - 1), SERVER_STATE_HALT);
}

}  // namespace
}  // namespace lbcluster::config
