// Our nftables table in the kernel, by libnftables: read as text, replaced all at once. Blocks; one thread.
#pragma once

#include <memory>
#include <string>

#include "lbcluster/base/result.hpp"

struct nft_ctx;

namespace lbcluster::forward::nft {

class Table {
  public:
    // As `nft list table` shows it; empty: there is none.
    Result<std::string> read();
    // `text` as render() makes it; empty removes the table.
    Result<void> replace(const std::string& text);

  private:
    struct Free {
        void operator()(nft_ctx* context) const;
    };
    // The error text of what failed; `output` otherwise.
    Result<std::string> run(const std::string& command);

    std::unique_ptr<nft_ctx, Free> context_;  // made when first needed
};

}  // namespace lbcluster::forward::nft
