// What the verbs of virtual services and real servers share: finding them by label, KEY=VALUE words, and showing them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "context.hpp"
#include "lbcluster/config.pb.h"

namespace lbcluster::cli {

// -1: there is none.
int find_service(const config::ClusterConfig& cluster, const std::string& label);
int find_server(const config::VirtualService& service, const std::string& label);
// Fail with the nearest label as the hint.
void fail_no_service(Context& context, const config::ClusterConfig& cluster, const std::string& label);
void fail_no_server(Context& context, const config::VirtualService& service, const std::string& label);

// KEY=VALUE words, in order. False after fail() with exit code 2 (no '=') or 3 (key or value not valid).
bool assign_words(Context& context, google::protobuf::Message& message, const std::vector<std::string>& words);

// `service` and `server` with defaults.
Json service_json(const config::VirtualService& service);
Json server_json(const config::VirtualService& service, const config::RealServer& server);
// Two lines and more: the service, then its servers.
std::string service_text(const config::VirtualService& service);
std::string server_text(const config::VirtualService& service, const config::RealServer& server);

}  // namespace lbcluster::cli
