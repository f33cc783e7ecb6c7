// The list of commands: one line each, the definition in the file of that name. main.cpp calls them in this order.
#pragma once

namespace CLI {
class App;
}

namespace lbcluster::cli {

struct Context;

void register_status(CLI::App& app, Context& context);
void register_events(CLI::App& app, Context& context);
void register_control(CLI::App& app, Context& context);

void register_pair(CLI::App& app, Context& context);
void register_unpair(CLI::App& app, Context& context);
void register_key_rotate(CLI::App& key, Context& context);  // a verb of `key`
void register_key(CLI::App& app, Context& context);
void register_config(CLI::App& app, Context& context);
void register_service(CLI::App& app, Context& context);
void register_server(CLI::App& app, Context& context);
void register_check(CLI::App& app, Context& context);
void register_connections(CLI::App& app, Context& context);
void register_diagnose(CLI::App& app, Context& context);
void register_arp_fix(CLI::App& app, Context& context);
void register_floating_ip(CLI::App& app, Context& context);
void register_sync(CLI::App& app, Context& context);
void register_replica(CLI::App& app, Context& context);
void register_support_bundle(CLI::App& app, Context& context);
void register_simulate(CLI::App& app, Context& context);

}  // namespace lbcluster::cli
