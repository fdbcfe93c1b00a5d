// The models of an engine: one for each request that may be answered at a time. Not installed.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "core/cancel.h"
#include "pipeline/model.h"

namespace reelm::pipeline {

/// A model and replicas of it (Model::replica), handed out one request each.
class ReplicaPool {
 public:
  /// `first` outlives the pool; count is 1 or more. Throws Error{kOutOfMemory}.
  ReplicaPool(Model& first, int count);
  ReplicaPool(const ReplicaPool&) = delete;
  ReplicaPool& operator=(const ReplicaPool&) = delete;

  /// A model of one's own while the object lives.
  class Lease {
   public:
    Lease(Lease&& other) noexcept;
    Lease& operator=(Lease&&) = delete;
    ~Lease();
    Model& model() const noexcept { return *model_; }

   private:
    friend class ReplicaPool;
    Lease(ReplicaPool& pool, Model& model) noexcept : pool_(&pool), model_(&model) {}
    ReplicaPool* pool_;
    Model* model_;
  };

  /// Waits until a model is free. Throws Error{kCancelled} when `cancel` (may be null) stops that.
  Lease take(const CancelToken* cancel);
  std::size_t size() const noexcept { return others_.size() + 1; }

 private:
  void give_back(Model& model) noexcept;

  std::vector<Model> others_;
  std::mutex mutex_;
  std::condition_variable freed_;
  std::vector<Model*> free_;  // room for all: giving back takes no memory
};

}  // namespace reelm::pipeline
