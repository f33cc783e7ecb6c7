// OP-4: no secret leaves in a support bundle.
#include "cli/redact.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lbcluster/config.pb.h"
#include "lbcluster/config/schema.hpp"

namespace lbcluster::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Redactor of(const std::string& yaml) {
    config::ClusterConfig cluster;
    config::Positions positions;
    config::Problems problems;
    EXPECT_TRUE(config::parse_yaml(yaml, "cluster.yaml", cluster, positions, problems)) << config::format(problems);
    Redactor redactor;
    redactor.add_configuration(cluster);
    return redactor;
}

TEST(Redact, ValuesOfAConfigurationAreKnownEverywhere) {
    const auto redactor =
        of("layer7: {statistics: {user: admin, password: hunter22}}\n"
           "virtual_services:\n"
           "  - label: web\n"
           "    address: 10.0.0.1\n"
           "    ports: [80]\n"
           "    headers: [{name: X-Api-Key, value: topsecret1}, {name: X-Plain, value: visible1}]\n"
           "    check: {type: negotiate, protocol: http, request: '/a?Authorization=requestkey&x=1',\n"
           "            headers: {X-Token: headertoken}, password: \"a\\\"quoted\"}\n");
    for (const char* secret : {"hunter22", "topsecret1", "requestkey", "headertoken", "a\"quoted", "a\\\"quoted"}) {
        EXPECT_EQ(redactor.known(std::string("said ") + secret + "."), "said ***.") << secret;
    }
    EXPECT_EQ(redactor.known("admin visible1 web 10.0.0.1 http"), "admin visible1 web 10.0.0.1 http");
}

TEST(Redact, ALongSecretLeavesNoRest) {
    Redactor redactor;
    redactor.add("abcd");
    redactor.add("abcdefgh");
    redactor.add("abc");  // too short to be told from a word
    EXPECT_EQ(redactor.known("abcdefgh abcd abc"), "*** *** abc");
}

TEST(Redact, KeyFiles) {
    Redactor redactor;
    redactor.add_key_file("id: 1\nkey: 0123456789abcdef0123456789abcdef\n");
    EXPECT_EQ(redactor.known("key 0123456789abcdef0123456789abcdef, id: 1"), "key ***, id: 1");
}

TEST(Redact, WhatLooksLikeASecret) {
    const Redactor redactor;
    const std::string text = redactor.text(
        "    stats auth admin:hunter22\n"
        "    user joe insecure-password hunter22\n"
        "    http-request set-header X-Api-Key hunter22\n"
        "    bind 10.0.0.1:443 ssl crt /etc/x.pem\n"
        "GET /a?password=hunter22&b=1\n"
        "-----BEGIN PRIVATE KEY-----\nhunter22\n-----END PRIVATE KEY-----\nafter\n");
    EXPECT_THAT(text, Not(HasSubstr("hunter22")));
    EXPECT_THAT(text, HasSubstr("bind 10.0.0.1:443 ssl crt /etc/x.pem\n"));
    EXPECT_THAT(text, HasSubstr("after\n"));
    EXPECT_THAT(redactor.yaml("a: 1\npassword: hunter22\nb: 2\n"), Not(HasSubstr("hunter22")));
    EXPECT_EQ(redactor.yaml("a: 1\nb: 2\n"), "a: 1\nb: 2\n");
}

}  // namespace
}  // namespace lbcluster::cli
