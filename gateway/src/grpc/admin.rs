//! The service Admin.

use tidegate_proto::v1::admin_server::Admin;
use tidegate_proto::v1::{
    CreateGroupRequest, CreateTopicRequest, DeleteGroupRequest, DeleteGroupResponse, DeleteTopicRequest,
    DeleteTopicResponse, GetGroupRequest, GetTopicRequest, Group, ListGroupsRequest, ListGroupsResponse,
    ListTopicsRequest, ListTopicsResponse, Topic,
};
use tonic::{Request, Response, Status, async_trait};

use super::metrics::Method;
use super::state::Grpc;
use super::{groups, topics};

#[async_trait]
impl Admin for Grpc {
    async fn create_topic(&self, request: Request<CreateTopicRequest>) -> Result<Response<Topic>, Status> {
        self.answer(Method::CreateTopic, topics::create(self, request.into_inner())).await
    }

    async fn delete_topic(
        &self,
        request: Request<DeleteTopicRequest>,
    ) -> Result<Response<DeleteTopicResponse>, Status> {
        self.answer(Method::DeleteTopic, topics::delete(self, &request.get_ref().topic)).await
    }

    async fn get_topic(&self, request: Request<GetTopicRequest>) -> Result<Response<Topic>, Status> {
        self.answer(Method::GetTopic, async { topics::get(self, &request.get_ref().topic) }).await
    }

    async fn list_topics(&self, request: Request<ListTopicsRequest>) -> Result<Response<ListTopicsResponse>, Status> {
        self.answer(Method::ListTopics, async { topics::list(self, request.get_ref()) }).await
    }

    async fn create_group(&self, request: Request<CreateGroupRequest>) -> Result<Response<Group>, Status> {
        self.answer(Method::CreateGroup, groups::create(self, request.into_inner())).await
    }

    async fn delete_group(
        &self,
        request: Request<DeleteGroupRequest>,
    ) -> Result<Response<DeleteGroupResponse>, Status> {
        self.answer(Method::DeleteGroup, groups::delete(self, &request.get_ref().group)).await
    }

    async fn get_group(&self, request: Request<GetGroupRequest>) -> Result<Response<Group>, Status> {
        self.answer(Method::GetGroup, async { groups::get(self, &request.get_ref().group) }).await
    }

    async fn list_groups(&self, request: Request<ListGroupsRequest>) -> Result<Response<ListGroupsResponse>, Status> {
        self.answer(Method::ListGroups, async { groups::list(self, request.get_ref()) }).await
    }
}
