"""One server for one order, whatever is lost on the way."""

from tests.support.product import Product


async def test_a_tenant_gets_one_server_and_the_run_waits_for_it(product: Product) -> None:
    customer = product.sign_up()
    state = await product.onboard(customer)
    assert (state.name, state.type) == ("Waiting for provider", "COMPLETED")
    run, order = product.run_of(customer), product.order_of(customer)
    assert (run["status"], run["wait_reason"]) == ("waiting", "provider")
    assert (order["state"], order["token"]) == ("fulfilled", product.hostwinds.server()["label"])
    assert product.hostwinds.bought() == 1
