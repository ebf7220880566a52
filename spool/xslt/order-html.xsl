<?xml version="1.0" encoding="UTF-8"?>
<!--
  Orders as one HTML page to read or print, for orders_in and orders_out alike.

  The page needs nothing else: no script, no picture, no style sheet from elsewhere. Every value goes
  through xsl:value-of, so markup in a document shows as text. What an order does not carry is left out.
-->
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
  <xsl:output method="html" encoding="UTF-8" indent="no" media-type="text/html"
              doctype-system="about:legacy-compat"/>

  <xsl:template match="/ListOfOrders">
    <html lang="en">
      <head>
        <title>Orders of <xsl:value-of select="@CreationDate"/></title>
        <meta name="viewport" content="width=device-width"/>
        <style>
          body { font: 1em/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 60em; padding: 0 1em }
          section { border-top: 1px solid #999; break-inside: avoid; margin-top: 2em }
          table { border-collapse: collapse; width: 100% }
          th, td { border-bottom: 1px solid #ddd; padding: .25em .5em; text-align: left; vertical-align: top }
          td.amount, th.amount { text-align: right; white-space: nowrap }
          address { display: inline-block; font-style: normal; margin: 0 3em 1em 0; vertical-align: top }
          .text { white-space: pre-line }
        </style>
      </head>
      <body>
        <h1>Orders of <xsl:value-of select="@CreationDate"/></h1>
        <p><xsl:value-of select="count(Order)"/> orders, <xsl:value-of select="count(Order/OrderContent/Position)"/> positions</p>
        <xsl:apply-templates select="Order"/>
      </body>
    </html>
  </xsl:template>

  <xsl:template match="Order">
    <section>
      <h2>
        <xsl:text>Order </xsl:text>
        <xsl:value-of select="@OrderID"/>
        <xsl:if test="@OrderNo"> (<xsl:value-of select="@OrderNo"/>)</xsl:if>
      </h2>
      <xsl:if test="@InvoiceCustomerNo">
        <p>Customer <xsl:value-of select="@InvoiceCustomerNo"/></p>
      </xsl:if>
      <xsl:apply-templates select="OrderHeader"/>
      <xsl:apply-templates select="OrderContent"/>
      <xsl:apply-templates select="OrderInformation | OrderContentInformation"/>
    </section>
  </xsl:template>

  <xsl:template match="OrderHeader">
    <p>
      <xsl:text>Ordered </xsl:text>
      <xsl:value-of select="OrderDateAndTime"/>
      <xsl:if test="normalize-space(DeliveryDateAndTime)">, delivery <xsl:value-of select="DeliveryDateAndTime"/></xsl:if>
      <xsl:if test="Payment">, payment <xsl:value-of select="Payment/@Method"/></xsl:if>
      <xsl:if test="Shipping">, shipping <xsl:value-of select="Shipping/@Method"/></xsl:if>
    </p>
    <xsl:apply-templates select="InvoiceAddress | DeliveryAddress"/>
  </xsl:template>

  <xsl:template match="InvoiceAddress | DeliveryAddress">
    <address>
      <strong>
        <xsl:choose>
          <xsl:when test="self::InvoiceAddress">Invoice to</xsl:when>
          <xsl:otherwise>Deliver to</xsl:otherwise>
        </xsl:choose>
      </strong>
      <xsl:if test="Company"><br/><xsl:value-of select="Company"/></xsl:if>
      <xsl:if test="FirstName | LastName">
        <br/>
        <xsl:value-of select="normalize-space(concat(Title, ' ', FirstName, ' ', LastName))"/>
      </xsl:if>
      <br/><xsl:value-of select="Street"/>
      <br/><xsl:value-of select="concat(Country, ' ', PostalCode, ' ', City)"/>
    </address>
  </xsl:template>

  <xsl:template match="OrderContent">
    <!-- Documents of orders_in carry states alone; the other columns would stay empty. -->
    <xsl:variable name="detailed" select="../OrderHeader"/>
    <table>
      <thead>
        <tr>
          <th>No.</th>
          <xsl:if test="$detailed">
            <th>Item</th>
            <th>Description</th>
            <th class="amount">Quantity</th>
            <th class="amount">Price</th>
            <th class="amount">Total</th>
          </xsl:if>
          <th>State</th>
        </tr>
      </thead>
      <tbody>
        <xsl:for-each select="Position">
          <tr>
            <td><xsl:value-of select="@No"/></td>
            <xsl:if test="$detailed">
              <td>
                <xsl:value-of select="@ItemNo"/>
                <xsl:if test="@VariantNo"> / <xsl:value-of select="@VariantNo"/></xsl:if>
              </td>
              <td>
                <span class="text"><xsl:value-of select="Description"/></span>
                <xsl:if test="NodeDescription"><br/><small><xsl:value-of select="NodeDescription"/></small></xsl:if>
              </td>
              <td class="amount"><xsl:value-of select="Quantity"/></td>
              <td class="amount"><xsl:value-of select="UnitPrice"/></td>
              <td class="amount"><xsl:value-of select="TotalPrice"/></td>
            </xsl:if>
            <td><xsl:value-of select="@OrderState | self::*[not(@OrderState)]/../../@DefaultPositionOrderState"/></td>
          </tr>
        </xsl:for-each>
      </tbody>
    </table>
    <xsl:apply-templates select="../OrderHeader/Payment"/>
  </xsl:template>

  <xsl:template match="Payment">
    <p>
      <strong>Total <xsl:value-of select="concat(Total, ' ', @Currency)"/></strong>
      <xsl:if test="../Shipping/Cost">, of which shipping <xsl:value-of select="../Shipping/Cost"/></xsl:if>
    </p>
  </xsl:template>

  <xsl:template match="OrderInformation | OrderContentInformation">
    <ul>
      <xsl:for-each select="Information">
        <li>
          <xsl:if test="@PositionNo">Position <xsl:value-of select="@PositionNo"/>, </xsl:if>
          <xsl:value-of select="@InformationTypeID"/>
          <xsl:text>: </xsl:text>
          <span class="text"><xsl:value-of select="."/></span>
        </li>
      </xsl:for-each>
    </ul>
  </xsl:template>
</xsl:stylesheet>
