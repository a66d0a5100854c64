module tidegate/integration/clients/go/amqp091

go 1.26.0

require github.com/rabbitmq/amqp091-go v1.16.0

require tidegate/checks v0.0.0

replace tidegate/checks => ../checks
