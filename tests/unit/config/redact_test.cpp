// OP-4: no secret leaves in a support bundle.
#include "lib/config/redact.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lbcluster/config.pb.h"
#include "lbcluster/config/schema.hpp"

namespace lbcluster::config {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Redactor of(const std::string& yaml) {
    ClusterConfig cluster;
    Positions positions;
    Problems problems;
    EXPECT_TRUE(parse_yaml(yaml, "cluster.yaml", cluster, positions, problems)) << format(problems);
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

TEST(Redact, TokensOfWebhooksCookiesAndCommands) {
    const auto redactor =
        of("virtual_services:\n"
           "  - label: web\n    address: 10.0.0.1\n    ports: [80]\n"
           "    check: {type: negotiate, protocol: tcp, send: 'PING\\r\\nAUTH s3cretredis\\r\\n', expect: '+OK',\n"
           "            tls: {private_key: /etc/lbcluster/web.pem}}\n"
           "notifications:\n"
           "  - {label: a, webhook: {url: 'https://hooks.example.org/services/T000/B000/slacktoken0123456'}}\n"
           "  - {label: b, webhook: {url: 'https://example.org/a?api-version=1&sig=short1',\n"
           "                         headers: {Cookie: 'session=cookietoken'}}}\n");
    for (const char* secret : {"/services/T000/B000/slacktoken0123456", "slacktoken0123456", "short1", "s3cretredis",
                               "cookietoken", "session=cookietoken"}) {
        EXPECT_EQ(redactor.known(std::string("said ") + secret + "."), "said ***.") << secret;
    }
    // What other texts are made of stays.
    const std::string plain = "services session PING lbcluster /etc/lbcluster/web.pem https://hooks.example.org T000";
    EXPECT_EQ(redactor.known(plain), plain);
}

TEST(Redact, LinesForHaproxyByHand) {
    Redactor redactor;
    redactor.add_haproxy(
        "userlist people\n"
        "    user joe insecure-password manual77\n"
        "    user ann password $5$hash if\n"
        "    stats auth admin:stats88\n"
        "    http-request set-header X-Api-Key \"header99\" if { path /status }\n"
        "    http-check send hdr Authorization \"Bearer bearer111\" hdr Accept text/plain\n"
        "    server key1 10.0.0.1:80 cookie key1\n"
        "    http-request deny unless { hdr(x-api-key) -m found }\n"
        "    setenv API_TOKEN env1234\n");
    for (const char* secret : {"manual77", "$5$hash", "stats88", "header99", "bearer111", "env1234"}) {
        EXPECT_EQ(redactor.known(std::string("said ") + secret + "."), "said ***.") << secret;
    }
    const std::string plain = "admin joe path /status found 10.0.0.1:80 people Bearer";
    EXPECT_EQ(redactor.known(plain), plain);
    // Cookies of the balancer are no secrets.
    for (const char* line : {"    cookie SRV insert indirect nocache\n", "    server a 10.0.0.1:80 cookie a check\n",
                             "    balance rdp-cookie(msts) x\n"}) {
        EXPECT_EQ(redactor.text(line), line);
    }
    EXPECT_EQ(redactor.text("    http-request set-header Cookie unknown1\n"),
              "    http-request set-header Cookie ***\n");
    EXPECT_EQ(redactor.text("    tcp-check send AUTH\\ unknown1\\r\\n\n"), "    tcp-check send AUTH\\ ***\n");
}

TEST(Redact, OfRequestsThatHaproxyCaughtOnlyTheHeadIsLeft) {
    EXPECT_EQ(without_captured_bytes("Total events captured on [x] : 1\n\n"
                                     "[x] frontend web (#2): invalid request\n"
                                     "  buffer starts at 0 (including 0 out), 1024 free,\n"
                                     "  H1 msg state MSG_HDRNAME(17), H1 msg flags 0x00000000\n\n"
                                     "  00000  GET / HTTP/1.1\\r\\n\n"
                                     "  00016  Authorization: Bearer 0123456789\n"
                                     "  00086+ abcdefgh\\r\\n\n"
                                     "  123456  Cookie: x\n"
                                     "  00100"),
              "Total events captured on [x] : 1\n\n"
              "[x] frontend web (#2): invalid request\n"
              "  buffer starts at 0 (including 0 out), 1024 free,\n"
              "  H1 msg state MSG_HDRNAME(17), H1 msg flags 0x00000000\n\n"
              "  00100");
    EXPECT_EQ(without_captured_bytes(""), "");
}

}  // namespace
}  // namespace lbcluster::config
