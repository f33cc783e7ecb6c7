#include "forwarder/nft/table.hpp"

#include <nftables/libnftables.h>

#include <cerrno>

#include "forwarder/nft/ruleset.hpp"

namespace lbcluster::forward::nft {

namespace {

const std::string name = std::string("table inet ") + table_name;

// The first line says what is wrong; the others show where in our own text.
std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

void Table::Free::operator()(nft_ctx* context) const { nft_ctx_free(context); }

Result<std::string> Table::run(const std::string& command) {
    if (!context_) {
        context_.reset(nft_ctx_new(NFT_CTX_DEFAULT));
        if (!context_ || nft_ctx_buffer_output(context_.get()) != 0 || nft_ctx_buffer_error(context_.get()) != 0) {
            context_.reset();
            return Error{"cannot use libnftables", "", ENOMEM};
        }
    }
    const int result = nft_run_cmd_from_buffer(context_.get(), command.c_str());
    // Reading a buffer empties it.
    std::string output = nft_ctx_get_output_buffer(context_.get());
    const std::string error = nft_ctx_get_error_buffer(context_.get());
    if (result != 0) return Error{first_line(error), "", EIO};
    return output;
}

Result<std::string> Table::read() {
    auto listed = run("list " + name);
    if (listed) return listed;
    if (listed.error().message.find("No such file or directory") != std::string::npos) return std::string();
    return Error{"cannot read our nftables table: " + listed.error().message, "", EIO};
}

Result<void> Table::replace(const std::string& text) {
    const auto done = run(text.empty() ? name + "\ndelete " + name : text);
    if (done) return {};
    return Error{"cannot set our nftables table: " + done.error().message,
                 "does this kernel have nf_tables with inet tables (and nat, for snat and auto_nat)?", EIO};
}

}  // namespace lbcluster::forward::nft
